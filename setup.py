"""Where each folder stands in the import namespace; all else is in setup.cfg."""

from setuptools import find_packages, setup

FOLDERS = ("wire", "runtime", "broker", "plugins", "server", "agent", "testing")

setup(
    package_dir={"fieldpost": "."},
    py_modules=["fieldpost.__init__"],
    packages=[
        f"fieldpost.{package}"
        for folder in FOLDERS
        for package in [folder] + [f"{folder}.{inner}" for inner in find_packages(folder)]
    ]
    + ["twisted.plugins"],
)
