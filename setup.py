"""What ``setup.cfg`` cannot express: two folders beside the package are part of it.

``supercm new`` copies ``examples/my_method``.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "supercm_pl.configs": "configs",
    "supercm_pl.examples.my_method": "examples/my_method",
}

setup(
    packages=[*find_packages(include=["supercm_pl*"]), *FOLDERS],
    package_dir=FOLDERS,
)
