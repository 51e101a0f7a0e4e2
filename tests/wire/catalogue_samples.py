"""
A message of each built-in type with all its fields, as Landscape's client or server writes it, and which fields it needs.

Written by hand from what is known of the client, not from the declarations: they are what is tested with it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen

from fieldpost.wire import bpickle, cbor


@frozen
class Sample:
    """A type: the fields that it needs, others that it may have, a search that finds it by its fields."""

    type: str
    needed: Mapping[str, Any] = MappingProxyType({})
    others: Mapping[str, Any] = MappingProxyType({})
    search: str = ""

    @property
    def full(self) -> dict[str, Any]:
        """With all fields, as it is sent."""
        return {"type": self.type, **self.needed, **self.others}

    @property
    def least(self) -> dict[str, Any]:
        """With the fields that must be there."""
        return {"type": self.type, **self.needed}


def received(message: dict[str, Any]) -> dict[str, Any]:
    """What a peer has stored that read it: tuples are lists, octets as keys are text."""
    found: dict[str, Any] = cbor.decode(cbor.encode(bpickle.decode(bpickle.encode(message))))
    return found


PROCESS = {"pid": 1, "name": "init", "state": b"S", "uid": 0, "gid": 0, "start-time": 1700000000}
BUSY = {**PROCESS, "pid": 2, "name": "nginx", "vm-size": 11676, "sleep-average": 1, "percent-cpu": 0.5}
USER = {
    "uid": 1000,
    "username": "jo",
    "name": "Jo Doe",
    "enabled": True,
    "location": None,
    "home-phone": None,
    "work-phone": "555",
}
OTHER_USER = {
    **USER,
    "username": "al",
    "name": None,
    "location": "Room 1",
    "primary-gid": 1000,
    "primary-groupname": "staff",
}
PACKAGE = {
    "name": "hello",
    "version": "2.10-3",
    "section": "devel",
    "summary": "example package",
    "description": "It greets.",
    "type": 65537,
    "size": 53084,
    "installed-size": None,
    "relations": [(131074, "hello"), (262148, "libc6 (>= 2.34)")],
}
DEVICE = {
    "interface": b"eth0",
    "ip_address": b"192.0.2.5",
    "mac_address": b"00:16:3e:00:00:01",
    "broadcast_address": b"192.0.2.255",
    "netmask": b"255.255.255.0",
    "flags": 4163,
}
MOUNT = {"mount-point": "/", "device": "/dev/sda1", "filesystem": "ext4", "total-space": 20000}
SNAP = {
    "id": "99T7MUlRhtI3U0QFgl5mXXESAiSwt776",
    "name": "core22",
    "version": "20240111",
    "revision": "1122",
    "confinement": "strict",
}
WHOLE_SNAP = {
    **SNAP,
    "name": "lxd",
    "tracking-channel": "5.21/stable",
    "hold": "2027-01-01T00:00:00Z",
    "summary": "containers",
    "config": '{"daemon": {"debug": false}}',
    "publisher": {"username": "canonical", "validation": "verified"},
}
SERVICE = {
    "name": "daemon",
    "snap": "lxd",
    "desktop-file": "/x.desktop",
    "daemon": "simple",
    "daemon-scope": "system",
    "enabled": True,
    "active": False,
    "activators": [{"Name": "unix", "Type": "socket", "Active": True, "Enabled": True}],
}
IDS = [1, (3, 7), 11]
PACKAGE_FIELDS = (
    "installed",
    "available",
    "available-upgrades",
    "locked",
    "autoremovable",
    "security",
)
JUJU = {"environment-uuid": "b2f8-1", "api-addresses": ["192.0.2.9:17070"]}

FROM_AGENTS = (
    Sample(
        "active-process-info",
        {},
        {
            "kill-all-processes": True,
            "kill-processes": [7, 8],
            "add-processes": [PROCESS, BUSY],
            "update-processes": [BUSY],
        },
        "kill-all-processes=true&add-processes.name=nginx&update-processes.percent-cpu.min=0.4",
    ),
    Sample("add-packages", {"packages": [PACKAGE], "request-id": 4}, {}, "packages.name=hello&request-id=4"),
    Sample("apt-preferences", {"data": {"/etc/apt/preferences": "Package: *\n"}}),
    Sample(
        "ceph-usage",
        {"ring-id": "f00d", "data-points": [(1700000000, 100, 60, 40)], "ceph-usages": []},
        {},
        "ring-id=f00d&data-points.used.min=40",
    ),
    Sample(
        "change-packages-result",
        {"operation-id": 5, "result-code": 101},
        {"result-text": "more", "must-install": [1, None], "must-remove": [2]},
        "result-code=101",
    ),
    Sample("cloud-init", {"cloud-init": '{"return_code": 0}'}, {}, 'cloud-init={"return_code": 0}'),
    Sample(
        "cloud-instance-metadata",
        {"instance-id": "i-1", "ami-id": "ami-1", "instance-type": "m1.small"},
        {},
        "instance-type=m1.small",
    ),
    Sample(
        "computer-info",
        {},
        {
            "hostname": "press-7.example",
            "total-memory": 2048,
            "total-swap": 512,
            "annotations": {"rack": "B4"},
            "machine-id": "9f1c",
        },
        "hostname=press-7.example&total-memory.min=2000",
    ),
    Sample("computer-tags", {"tags": "web,lab"}, {}, "tags=web,lab"),
    Sample("cpu-usage", {"cpu-usages": [(300, 0.25), (600, 1)]}, {}, "cpu-usages.load.max=0.3"),
    Sample(
        "custom-graph",
        {
            "data": {
                7: {"values": [(300, 1.5), (600.0, 2)], "error": "", "script-hash": b"\x01\xff"},
                8: {"values": [], "error": "failed", "script-hash": b""},
            }
        },
        {},
        "data.key=8&data.error=failed",
    ),
    Sample(
        "distribution-info",
        {},
        {
            "distributor-id": "Ubuntu",
            "description": "Ubuntu 24.04 LTS",
            "release": "24.04",
            "code-name": "noble",
        },
        "code-name=noble",
    ),
    Sample(
        "fde-recovery-key",
        {"operation-id": 6, "successful": True},
        {"recovery-key": "1-2-3", "result-code": 1, "result-text": "made"},
        "successful=true&operation-id=6",
    ),
    Sample(
        "free-space", {"free-space": [(300, "/", 9000), (300.0, "/home", 1)]}, {}, "free-space.free.max=1"
    ),
    Sample("hardware-info", {"data": "<list/>"}, {}, "data=<list/>"),
    Sample(
        "juju-units-info",
        {
            "juju-info-list": [
                {**JUJU, "unit-name": "web/0"},
                {**JUJU, "unit-name": "web/1", "private-address": "192.0.2.10"},
            ]
        },
        {},
        "juju-info-list.unit-name=web/1&juju-info-list.private-address=192.0.2.10",
    ),
    Sample("keystone-token", {"data": b"secret"}, {}, "data=c2VjcmV0"),
    Sample(
        "livepatch", {"livepatch": '{"humane": {}, "json": {}}'}, {}, 'livepatch={"humane": {}, "json": {}}'
    ),
    Sample("load-average", {"load-averages": [(300, 0.5), (600, 2)]}, {}, "load-averages.load=2"),
    Sample(
        "memory-info",
        {"memory-info": [(300, 512, 100), (600.0, 500, 100)]},
        {},
        "memory-info.free-memory=512",
    ),
    Sample(
        "mount-activity",
        {"activities": [(300, "/mnt", True), (301.5, "/mnt", False)]},
        {},
        "activities.mounted=false&activities.mount-point=/mnt",
    ),
    Sample(
        "mount-info",
        {"mount-info": [(300, MOUNT)]},
        {},
        "mount-info.mount.device=/dev/sda1&mount-info.mount.total-space.min=20000",
    ),
    Sample(
        "network-activity",
        {"activities": {b"eth0": [(300, 5, 6), (600, 7, 8)], b"lo": [(300, 1, 1)]}},
        {},
        "activities.key=lo&activities.received=7",
    ),
    Sample(
        "network-device",
        {"devices": [DEVICE]},
        {"device-speeds": [{"interface": b"eth0", "speed": 1000, "duplex": True}]},
        "devices.ip_address=MTkyLjAuMi41&device-speeds.speed=1000",
    ),
    Sample(
        "operation-result",
        {"operation-id": 9, "status": 6},
        {"result-code": 1, "result-text": "done"},
        "status=6&result-text=done",
    ),
    Sample(
        "package-locks",
        {},
        {"created": [("hello", "<", "2.0")], "deleted": [("vim", "", "")]},
        "created.name=hello",
    ),
    Sample(
        "package-reporter-result",
        {"code": 1, "err": "no sources"},
        {"report-timestamp": 1700000000.5},
        "code=1&report-timestamp.min=1700000000",
    ),
    Sample(
        "packages",
        {},
        {name: IDS for one in PACKAGE_FIELDS for name in (one, f"not-{one}")},
    ),
    Sample(
        "processor-info",
        {
            "processors": [
                {"processor-id": 0, "model": "Vortex 8"},
                {"processor-id": 1, "model": "Vortex 9", "vendor": "Acme", "cache-size": 512},
            ]
        },
        {},
        "processors.model=Vortex 9&processors.cache-size.min=512",
    ),
    Sample("reboot-required", {"flag": True}, {}, "flag=true"),
    Sample("reboot-required-info", {}, {"flag": True, "packages": ["libc6"]}, "flag=true"),
    Sample(
        "register",
        {"account_name": "open", "computer_title": "A computer"},
        {
            "registration_password": "key",
            "hostname": "host.example",
            "tags": None,
            "access_group": "lab",
            "container-info": "",
            "vm-info": b"kvm",
            "juju-info": {**JUJU, "machine-id": "1"},
            "clone_secure_id": None,
            "ubuntu_pro_info": "{}",
            "hostagent_uid": "h-1",
            "installation_request_id": "i-1",
            "authenticated_attach_code": "c-1",
            "machine_id": "9f1c",
        },
    ),
    Sample("resynchronize", {}, {"operation-id": 3}, "operation-id=3"),
    Sample("snap-info", {"brand": "acme", "model": "box", "serial": "s-1"}, {}, "serial=s-1"),
    Sample(
        "snap-services",
        {"services": {"running": [{"name": "bare"}, SERVICE]}},
        {},
        "services.running.snap=lxd&services.running.active=false",
    ),
    Sample(
        "snaps",
        {"snaps": {"installed": [SNAP, WHOLE_SNAP]}},
        {},
        "snaps.installed.name=lxd&snaps.installed.publisher.username=canonical",
    ),
    Sample(
        "swift-device-info",
        {"swift-device-info": [{"device": "/dev/sdb", "mounted": True}]},
        {},
        "swift-device-info.device=/dev/sdb",
    ),
    Sample("swift-usage", {"data-points": [(300, "sdb", 100, 60, 40)]}, {}, "data-points.device=sdb"),
    Sample(
        "temperature",
        {"thermal-zone": "thermal_zone0", "temperatures": [(300, 51.5)]},
        {},
        "thermal-zone=thermal_zone0&temperatures.value.min=50",
    ),
    Sample(
        "test",
        {},
        {"greeting": b"hello", "consistency-error": False, "echo": b"x", "sequence": 5},
        "sequence=5&consistency-error=false",
    ),
    Sample("text-message", {"message": "hello"}, {}, "message=hello"),
    Sample("ubuntu-pro-info", {"ubuntu-pro-info": "{}"}, {}, "ubuntu-pro-info={}"),
    Sample(
        "ubuntu-pro-reboot-required",
        {"ubuntu-pro-reboot-required": "{}"},
        {},
        "ubuntu-pro-reboot-required={}",
    ),
    Sample(
        "unknown-package-hashes",
        {"hashes": [b"\x00" * 20, b"\xff" * 20], "request-id": 3},
        {},
        "request-id=3",
    ),
    Sample("update-manager-info", {"prompt": "lts"}, {}, "prompt=lts"),
    Sample(
        "users",
        {},
        {
            "operation-id": 2,
            "create-users": [USER, OTHER_USER],
            "update-users": [USER],
            "delete-users": ["eve"],
            "create-groups": [{"gid": 1000, "name": "staff"}],
            "update-groups": [{"gid": 1001, "name": "lab"}],
            "delete-groups": ["old"],
            "create-group-members": {"staff": ["jo", "al"]},
            "delete-group-members": {"lab": ["eve"]},
        },
        "create-users.username=al&create-users.primary-gid=1000&create-groups.name=staff&update-groups.gid=1001",
    ),
    Sample(
        "usg-audit",
        {"report": b"<Benchmark/>", "operation-id": 8, "run-id": "r-1"},
        {},
        "run-id=r-1",
    ),
)

OPERATION = {"operation-id": 1}
PERSON = {
    "name": "Jo Doe",
    "password": "pw",
    "primary-group-name": None,
    "location": "Room 1",
    "work-number": None,
    "home-number": "555",
}


def snaps(type: str, each: dict[str, Any] | None, args: dict[str, Any]) -> Sample:
    one = {"name": "lxd"} if each is None else {"name": "lxd", "args": each}
    return Sample(type, {**OPERATION, "snaps": [one]}, {"args": args})


FROM_SERVERS = (
    Sample("accepted-types", {"types": ["register"]}),
    Sample("set-id", {"id": b"secure"}, {"insecure-id": 7}),
    Sample("registration", {"info": "unknown-account"}),
    Sample("unknown-id", {}, {"clone-of": "A computer"}),
    Sample("resynchronize", OPERATION, {"scopes": ["disk"]}),
    Sample("set-intervals", {}, {"exchange": 900, "urgent-exchange": 60, "ping": 30}),
    Sample("package-ids", {"request-id": 3, "ids": [1, None]}),
    Sample(
        "change-packages",
        OPERATION,
        {
            "upgrade-all": True,
            "install": [1],
            "remove": [2],
            "hold": [3],
            "remove-hold": [4],
            "policy": 1,
            "binaries": [(b"\x01" * 20, 5, b"IWRlYg==")],
            "reboot-if-necessary": False,
        },
    ),
    Sample("change-package-locks", OPERATION),
    Sample(
        "release-upgrade",
        {
            **OPERATION,
            "code-name": "noble",
            "upgrade-tool-tarball-url": "https://u.example/noble.tar.gz",
            "upgrade-tool-signature-url": "https://u.example/noble.tar.gz.gpg",
        },
        {"allow-third-party": False, "debug": False},
    ),
    Sample(
        "signal-process",
        {**OPERATION, "pid": 7, "name": "nginx", "start-time": 1700000000, "signal": "TERM"},
    ),
    Sample("shutdown", {**OPERATION, "reboot": True}),
    Sample(
        "apt-sources-replace",
        {
            **OPERATION,
            "sources": [{"name": "a", "content": "deb x"}, {"name": "b", "content": b"\xff"}],
            "gpg-keys": ["k"],
        },
    ),
    Sample(
        "add-user",
        OPERATION,
        {
            "username": "jo",
            **PERSON,
            "require-password-reset": False,
            "email": "jo@example",
            "sudoer": True,
            "force-managed": False,
            "assertion": "type: system-user",
        },
    ),
    Sample("edit-user", {**OPERATION, "username": "jo"}, PERSON),
    *(Sample(f"{verb}-user", {**OPERATION, "username": "jo"}) for verb in ("lock", "unlock")),
    Sample("remove-user", {**OPERATION, "username": "jo"}, {"delete-home": True}),
    *(Sample(f"{verb}-group", {**OPERATION, "groupname": "staff"}) for verb in ("add", "remove")),
    Sample("edit-group", {**OPERATION, "groupname": "staff", "new-name": "crew"}),
    *(
        Sample(f"{verb}-group-member", {**OPERATION, "username": "jo", "groupname": "staff"})
        for verb in ("add", "remove")
    ),
    Sample(
        "execute-script",
        {**OPERATION, "username": "root", "interpreter": "/bin/sh -e", "code": "uptime"},
        {"time-limit": None, "attachments": {"data.txt": 4}, "env": {"A": "b"}},
    ),
    Sample(
        "custom-graph-add",
        {"graph-id": 7, "username": "root", "interpreter": "/bin/sh", "code": "echo 1"},
    ),
    Sample("custom-graph-remove", {"graph-id": "7"}),
    snaps("install-snaps", {"revision": "1", "channel": "latest/stable", "classic": True}, {}),
    snaps("refresh-snaps", {"channel": "latest/edge"}, {}),
    snaps("remove-snaps", {"purge": True, "terminate": False}, {}),
    snaps("hold-snaps", None, {"hold_level": "general", "time": "forever"}),
    snaps("unhold-snaps", None, {}),
    snaps("set-snap-config", {"config": {"daemon.debug": True, "x": None}}, {}),
    *(
        snaps(f"{verb}-snap-service{batch}", None, args)
        for verb, args in (
            ("start", {"enable": True}),
            ("stop", {"disable": True}),
            ("restart", {"reload": True}),
        )
        for batch in ("", "-batch")
    ),
    Sample("attach-pro", {**OPERATION, "token": "C1"}),
    Sample("detach-pro", OPERATION),
    Sample("fde-recovery-key", OPERATION),
    Sample(
        "usg",
        {**OPERATION, "run-id": "r-1", "action": "audit"},
        {"profile": "cis_level1_server", "tailoring-file": ("t.xml", 5)},
    ),
)
