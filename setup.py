"""Beam Grid: an open event-time dataflow for electricity grids."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def pins(name: str) -> list[str]:
    """Requirements of requirements/NAME.txt, the one place where versions are pinned."""
    lines = (HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


setup(
    name="beam-grid",
    version="0.1.0",
    description="Event-time dataflow for electricity grids: files and Kafka to trusted tables and a report",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["beam_grid*", "transforms*", "runners*", "data_sources*"]),
    package_data={
        "": ["*.toml", "*.j2", "*.css", "*.xml", "*.md", "*.sql", "*.sh", "py.typed"],
        "beam_grid.server": ["dashboard/*.*", "dashboard/views/*.js", "dashboard/vendor/*"],
    },
    install_requires=pins("run"),
    extras_require={"test": pins("test")},
    entry_points={"console_scripts": ["beam-grid=beam_grid.cli:main"]},
)
