"""
bpickle, in which Landscape's client and server speak, beside C json and cbor2 on the same data in the same run.

    python benchmarks/bpickle.py [--quick] [--json]

The payload is one of 100 messages and 30 kB as a client would send it; "one message" is one of them. JSON has no octets: in its turn
they are text.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from report import Result, Target, show

MESSAGES = 100
OCTETS = 30_000
ROUNDS = 5
TARGETS = {
    "encode_payload_ms": Target(0.6, at_most=True),
    "decode_payload_ms": Target(1.0, at_most=True),
}


def message(number: int, api: Any = b"3.3") -> dict[str, Any]:
    """A message of one text field."""
    return {"type": "text-message", "api": api, "timestamp": 1_795_262_395 + number, "message": "x" * 222}


def payload(api: Any = b"3.3", digest: Any = b"\0" * 16) -> dict[str, Any]:
    """What an exchange carries."""
    return {
        "accepted-types": digest,
        "client-api": api,
        "messages": [message(number, api) for number in range(MESSAGES)],
        "next-expected-sequence": 3,
        "sequence": 1,
        "server-api": api,
        "total-messages": MESSAGES,
    }


def ms_of(call: Callable[[Any], Any], value: Any, *, times: int) -> float:
    """Milliseconds of one call: the median of rounds, each a mean of many calls."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(times):
            call(value)
        rounds.append(1000 * (time.perf_counter() - started) / times)
    return median(rounds)


def measure(*, quick: bool = False) -> Result:
    """Each codec there and back."""
    import cbor2

    from fieldpost.wire import bpickle, cbor

    octets = bpickle.encode(payload())
    assert 0.98 * OCTETS < len(octets) < 1.02 * OCTETS, len(octets)
    few, many = (20, 2_000) if quick else (200, 20_000)
    whole, one = payload(), message(1)
    plain, plain_one = payload("3.3", "0" * 16), message(1, "3.3")
    codecs: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Any, Any]] = {
        "": (bpickle.encode, bpickle.decode, whole, one),
        "c_json_": (lambda value: json.dumps(value).encode(), json.loads, plain, plain_one),
        "cbor2_": (cbor2.dumps, cbor2.loads, whole, one),
        "our_strict_cbor_": (cbor.encode, cbor.decode, whole, one),
    }
    figures: dict[str, float] = {"payload_octets": len(octets)}
    for name, (encode, decode, large, small) in codecs.items():
        written, written_one = encode(large), encode(small)
        assert decode(written) == large
        figures |= {
            f"{name}encode_payload_ms": ms_of(encode, large, times=few),
            f"{name}decode_payload_ms": ms_of(decode, written, times=few),
            f"{name}encode_message_us": 1000 * ms_of(encode, small, times=many),
            f"{name}decode_message_us": 1000 * ms_of(decode, written_one, times=many),
        }
    return Result(name="bpickle", figures=figures, targets=TARGETS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    show([measure(quick=options.quick)], as_json=options.json)


if __name__ == "__main__":
    main()
