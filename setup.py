"""What ``setup.cfg`` cannot express: ``configs/`` is part of the package, as its own folder."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["supercm_pl*"]), "supercm_pl.configs"],
    package_dir={"supercm_pl.configs": "configs"},
)
