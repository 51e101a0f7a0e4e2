"""Clouds, and what is deployed in them."""

from ...declaration import Declaration
from ...kinds import OCTETS, TEXT, list_of, record_of
from ..fields import TEXTS, needs

_MOST = 64

DECLARATIONS = (
    Declaration(
        type="cloud-init",
        about="What cloud-init says of itself.",
        fields=(needs("cloud-init", TEXT, "JSON of `return_code`, `error` and `output`"),),
    ),
    Declaration(
        type="cloud-instance-metadata",
        about="What the machine is to its cloud.",
        fields=(
            needs("instance-id", TEXT, "which one it is", most=_MOST),
            needs("ami-id", TEXT, "image that it was made from", most=_MOST),
            needs("instance-type", TEXT, "its size", most=_MOST),
        ),
    ),
    Declaration(
        type="juju-units-info",
        about="What Juju runs on it. No client sends it now.",
        fields=(
            needs(
                "juju-info-list",
                list_of(
                    record_of(
                        {
                            "environment-uuid": TEXT,
                            "api-addresses": TEXTS,
                            "unit-name": TEXT,
                            "private-address?": TEXT,
                        }
                    )
                ),
                "each unit",
            ),
        ),
    ),
    Declaration(
        type="keystone-token",
        about="The administrator's token of an OpenStack Keystone.",
        fields=(needs("data", OCTETS, "the token: a secret; null when it is gone", nullable=True),),
    ),
)
