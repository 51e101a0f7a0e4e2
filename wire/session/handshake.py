"""
From two hellos to one agreement: who decides, whether the peer is who it says, and what is in force.

Holds what both ends said; the Session moves the machine and the frames. A `Refusal` that comes back from here is what the
peer, or our own side, is told.
"""

from math import ceil

from .agreement import Agreement, Profile
from .decision import IDENTITY, PROOF, Decision, Refusal, Terms, find_fault, settle
from .encodings import NAMES
from .hello import Hello
from .identity import CHECKED_SERVER, NOTHING_KNOWN, Evidence, Role, is_master
from .limits import Limits
from .proof import PROOF_METHOD, Party, proof_of, proves


class Handshake:
    """
    What this end knows while it negotiates.

    `evidence` is what the carrier knows of the peer; None: what a client knows that checked the server's certificate,
    and nothing for a server. `master_secret` proves a peer that claims to be our master.
    """

    def __init__(
        self,
        *,
        role: Role,
        us: Profile,
        limits: Limits,
        evidence: Evidence | None,
        master_secret: bytes | None,
    ) -> None:
        self.role = role
        self.us = us
        self.ours = hello_of(us, role, limits)
        self.theirs: Hello | None = None
        self.terms: Terms | None = None
        self.is_master = role is Role.SERVER
        """Known once `theirs` is."""
        self.proof: bytes | None = None
        """The peer's, once it came."""
        default = CHECKED_SERVER if role is Role.CLIENT else NOTHING_KNOWN
        self._evidence = default if evidence is None else evidence
        self._master_secret = master_secret

    def hear(self, theirs: Hello) -> Refusal | None:
        """The peer's hello: what is wrong with it, if anything."""
        self.theirs = theirs
        self.is_master = is_master(self.us.id, theirs.id, role=self.role)
        fault = self._find_identity_fault(theirs)
        if fault is not None:
            return fault
        found = settle(self.ours, theirs, role=self.role)
        if isinstance(found, Refusal):
            return found
        self.terms = found
        return None

    def _find_identity_fault(self, theirs: Hello) -> Refusal | None:
        """An id that is not proved does not count: then we are the master, and refuse as such."""
        wanted = self.us.wanted
        if wanted is not None and theirs.id != wanted:
            return Refusal(code=IDENTITY, text=f"this is {theirs.id or 'nobody'}, not {wanted}")
        if theirs.id is None or self._evidence.proves(theirs.id):
            return None
        if theirs.proof is not None and (self.is_master or self._master_secret is not None):
            return None
        self.is_master = True
        text = f"nothing shows that this is {theirs.id}: neither a key nor a proof that is known here"
        return Refusal(code=PROOF, text=text)

    @property
    def awaits_proof(self) -> bool:
        """Whether the peer announced a proof that has not come."""
        return self.theirs is not None and self.theirs.proof is not None and self.proof is None

    def find_fault(self, decision: Decision) -> Refusal | None:
        """Whether the peer may decide at all, and this."""
        assert self.theirs is not None
        assert self.terms is not None
        if not self._is_believed(self.theirs):
            return Refusal(code=PROOF, text=f"the proof does not show that this is {self.theirs.id}")
        return find_fault(decision, self.terms, self.ours)

    def _is_believed(self, theirs: Hello) -> bool:
        if theirs.id is None or self._evidence.proves(theirs.id):
            return True
        return self._master_secret is not None and self.is_proved_by(self._master_secret)

    def decide(self, connection: tuple[bytes, int], session: bytes | None, *, packs: bool) -> Decision:
        """Our decision, as the master; unless it `packs`, neither end packs anything."""
        assert self.terms is not None
        terms = self.terms
        return Decision(
            version=terms.version,
            codec=terms.codec,
            capabilities=terms.capabilities,
            connection=connection,
            keepalive=terms.keepalive,
            encodings=terms.encodings if packs else (),
            session=session,
        )

    def agree(self, decision: Decision) -> Agreement:
        """What is in force under a decision, whoever made it."""
        assert self.theirs is not None
        assert self.terms is not None
        interval, deadline = decision.keepalive
        encodings = self.terms.encodings if decision.encodings is None else decision.encodings
        return Agreement(
            version=decision.version,
            codec=decision.codec,
            capabilities=decision.capabilities,
            encodings=encodings,
            keepalive=(float(interval), float(interval + deadline)),
            connection=decision.connection,
            session=decision.session,
            peer=self.theirs,
            is_master=self.is_master,
        )

    def make_proof(self, secret: bytes) -> bytes:
        """Ours, under a secret that the peer has too. After the peer's hello only."""
        ours, theirs = self._parties()
        return proof_of(secret, prover=ours, verifier=theirs, exporter=self._evidence.exporter)

    def is_proved_by(self, secret: bytes) -> bool:
        """Whether the peer's proof came and was made under this secret."""
        if self.proof is None or self.theirs is None:
            return False
        ours, theirs = self._parties()
        exporter = self._evidence.exporter
        return proves(self.proof, secret, prover=theirs, verifier=ours, exporter=exporter)

    def _parties(self) -> tuple[Party, Party]:
        assert self.theirs is not None
        return _party(self.role, self.ours), _party(self.role.other, self.theirs)


def _party(role: Role, hello: Hello) -> Party:
    return Party(role=role, id=hello.id, incarnation=hello.incarnation, nonce=hello.nonce)


def hello_of(us: Profile, role: Role, limits: Limits) -> Hello:
    """What we say of ourselves."""
    names = tuple(name.decode() for name in NAMES) if us.encodings is None else us.encodings
    interval = max(1, round(us.keepalive[0]))
    return Hello(
        versions=us.versions,
        id=us.id,
        incarnation=us.incarnation,
        attempt=us.attempt if role is Role.CLIENT else None,
        last=us.last if role is Role.CLIENT else None,
        capabilities=us.capabilities,
        codecs=us.codecs,
        encodings=names,
        limits=limits_of(limits),
        keepalive=(interval, max(1, ceil(us.keepalive[1]) - interval)),
        nonce=us.nonce,
        proof=PROOF_METHOD if us.announces_proof else None,
    )


def limits_of(limits: Limits) -> dict[str, int]:
    """Those that the peer is told."""
    return {
        "active": limits.active,
        "credit": limits.credit,
        "data": limits.data,
        "decoded": limits.decoded,
        "frame": limits.frame,
        "partial": limits.partial,
        "request": limits.request,
        "streams": limits.streams,
    }


def limits_from(hello: Hello) -> Limits:
    """What the peer takes; where it does not say, what every peer must take."""
    said = {**limits_of(Limits()), **hello.limits}
    return Limits(**said)
