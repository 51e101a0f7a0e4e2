"""What `twistd` finds of us. Nothing else is loaded before one of them is chosen."""

from twisted.application.service import ServiceMaker

broker = ServiceMaker(
    "Fieldpost broker", "fieldpost.agent.tap", "The message broker of this machine.", "fieldpost-broker"
)
plugin = ServiceMaker(
    "Fieldpost plugins", "fieldpost.agent.host_tap", "A process of plugins, by its name.", "fieldpost-plugin"
)
server = ServiceMaker(
    "Fieldpost server", "fieldpost.server.tap", "The server that brokers send to.", "fieldpost-server"
)
