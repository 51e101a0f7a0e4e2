"""What travels: octets in, values and events out. No I/O, no clock, no logging."""
