"""What agents send, by subject: tables of declarations and nothing else."""
