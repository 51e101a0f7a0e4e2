"""Registration, and the broker's own words."""

from ...declaration import Declaration
from ...kinds import INTEGER, OCTETS, TEXT, record_of
from ...message import RECEIPT, REGISTER, RESYNCHRONIZE
from ..fields import TEXTS, may_have, needs, newest, ours

DECLARATIONS = (
    Declaration(
        type=REGISTER,
        about="An agent without identity wants one. Sent by the broker alone. Of names that are there twice, those with dashes "
        "come from a broker, those with underscores from `landscape-config`.",
        fields=(
            needs("account_name", TEXT, "the account to belong to"),
            needs("computer_title", TEXT, "what the computer is called on the server"),
            may_have("hostname", TEXT, "the machine's own name"),
            may_have("registration_password", TEXT, "the account's key", nullable=True),
            may_have("tags", TEXT, "tags, parted by commas", nullable=True),
            may_have("access_group", TEXT, "group of computers to belong to"),
            may_have("container-info", TEXT, "kind of container that it runs in, empty for none"),
            may_have("vm-info", OCTETS, "kind of virtual machine that it is, empty for none"),
            may_have("container_info", TEXT, "the same as `container-info`"),
            may_have("vm_info", OCTETS, "the same as `vm-info`"),
            newest(
                "juju-info",
                record_of({"environment-uuid": TEXT, "api-addresses": TEXTS, "machine-id": TEXT}),
                "where Juju put it",
            ),
            newest("clone_secure_id", TEXT, "its identity before it was found to be a clone", nullable=True),
            newest("ubuntu_pro_info", TEXT, "state of Ubuntu Pro, in JSON"),
            newest("hostagent_uid", TEXT, "the agent of the Windows machine that it runs on"),
            newest("installation_request_id", TEXT, "the request that made it there"),
            newest("authenticated_attach_code", TEXT, "a code that stands for the account's key"),
            newest("machine_id", TEXT, "a UUID made of the machine's id"),
            ours("registration-id", TEXT, "makes a repeated registration find the same computer"),
        ),
    ),
    Declaration(
        type=RESYNCHRONIZE,
        about="From here on the agent tells everything afresh. Sent by the broker alone.",
        fields=(may_have("operation-id", INTEGER, "of the server's request, where there was one"),),
    ),
    Declaration(
        type=RECEIPT,
        about="What the agent could not keep, or could not pass on. Fieldpost's own; sent by the broker alone.",
        fields=(
            needs("reason", TEXT, "`size`, `age`, `poison`, `corrupt`, `obsolete` or `unusable`"),
            needs("message-type", TEXT, "type of the messages that are gone"),
            needs("count", INTEGER, "how many"),
            may_have("first", INTEGER, "id of the first in the agent's store"),
            may_have("last", INTEGER, "id of the last"),
            may_have("oldest", INTEGER, "timestamp of the oldest"),
            may_have("newest", INTEGER, "timestamp of the newest"),
        ),
    ),
)
