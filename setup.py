"""Packages, dependencies and the console command."""

from setuptools import find_packages, setup

# TensorFlow is in the extras `cpu` and `gpu`, since its builds differ; environment.yml repeats this list.
REQUIRES = [
    "ai-edge-litert>=2.0,<3",
    "google-auth>=2.28,<3",
    "gspread>=6.1,<7",
    "h5py>=3.11,<3.15",
    "jinja2>=3.1,<4",
    "keras>=3.12,<4",
    "librosa>=0.10.2,<0.12",
    "matplotlib>=3.8,<4",
    "numpy>=2.0,<3",
    "pandas>=2.2,<4",
    "platformdirs>=4.2,<5",
    "pydantic>=2.7,<3",
    "pyyaml>=6.0,<7",
    "requests>=2.31,<3",
    "scikit-learn>=1.5,<2",
    "scipy>=1.15,<2",
    "soundfile>=0.12.1,<1",
    "soxr>=0.5,<2",
    "tqdm>=4.66,<5",
    "umap-learn>=0.5.7,<0.6",
]

EXTRAS = {
    "cpu": ["tensorflow-cpu>=2.18,<2.22"],
    "gpu": ["tensorflow[and-cuda]>=2.18,<2.22"],
    # Releases are dated development versions, and there are no others.
    "edge": ["tflite-micro>=0.dev20250101"],
    # Only for a token that an oauth2client flow stored; it is no longer maintained.
    "oauth2client": ["oauth2client>=4.1.3,<5"],
    # The peer that embedding and training are measured beside.
    "benchmark": ["torch>=2.4,<3"],
    "docs": ["furo>=2024.8", "myst-parser>=4,<6", "sphinx>=8,<9"],
    "test": [
        "cryptography>=42",
        "dppy>=0.3.3,<0.4",
        # A test builds the documentation.
        "furo>=2024.8",
        "hypothesis>=6.100,<7",
        # A second backend of Keras, which training is tested on.
        "jax>=0.5,<0.12",
        "mypy>=1.18,<3",
        "myst-parser>=4,<6",
        "oauth2client>=4.1.3,<5",
        "pandas-stubs>=2.2,<4",
        "pytest>=8,<10",
        "ruff>=0.17,<0.18",
        "sphinx>=8,<9",
        "types-PyYAML>=6,<7",
        "types-requests>=2.31,<3",
        "types-tqdm>=4.66,<5",
    ],
}

setup(
    name="l3embedding",
    version="0.1.0",
    description="Specialized Embedding Approximation: distil a large audio embedding for one domain",
    license="MIT",
    python_requires=">=3.11,<3.13",
    # data, classifier, jobs and scripts are at the top of the repository; links make them parts of the package.
    packages=find_packages(include=["l3embedding", "l3embedding.*"]),
    package_data={"l3embedding": ["**/*.j2", "**/*.sh", "**/*.sbatch"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["sea=l3embedding.cli.sea:main"]},
)
