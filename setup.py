"""Packaging of orl_jax. Version bounds: from what was tested up to what may break."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "orl_jax/__init__.py").read_text())[1]

REQUIRES = [
    # The models and their training.
    "jax>=0.10.2,<0.13",  # 0.10 is the last series for Python 3.11
    "flax>=0.12.8,<0.13",  # linen
    "optax>=0.2.8,<0.3",
    "qwix>=0.1.8,<0.2",  # quantised kernels
    "orbax-checkpoint>=0.12.8,<0.13",
    "numpy>=2.2,<3",
    "scipy>=1.15,<2",  # rank correlations and tests of an audit; jax also needs it
    "jaxtyping>=0.3.11,<0.4",  # shapes in signatures; checked only under pytest
    # Text: tokenizers, Hugging Face configurations and weights. Version 5 dropped its Flax classes.
    "transformers>=5.23,<6",
    "tokenizers>=0.23.1,<0.24",
    "safetensors>=0.6,<0.9",
    # Data sets. No tensorflow: only array_record files, read by random access.
    "tensorflow-datasets>=4.9.10,<5",
    "importlib_resources>=6",  # tensorflow-datasets imports it lazily and does not require it
    "array_record>=0.8.6,<0.9",
    "grain>=0.2.18,<0.3",
    # Video.
    "decord>=0.6.0,<0.7",  # decodes; exact frames by index
    "av>=18.1,<19",  # encodes the embedded clips (H.264)
    # Scripts and what they show.
    "absl-py>=2.3,<3",
    "ml_collections>=1.1,<2",
    "matplotlib>=3.10,<4",
    "jinja2>=3.1,<4",
    "tensorboardX>=2.6.5,<3",  # writes TensorBoard's files without tensorflow
    "tqdm>=4.67,<5",
    # Oracles behind an address.
    "httpcore>=1.0.7,<2",
    "certifi>=2024.2",
    "tenacity>=9.1,<10",
    "pillow>=11,<14",
]

EXTRAS = {
    "test": [
        "pytest>=9,<10",
        "pytest-xdist>=3.8,<4",  # test files in parallel; most of their time is compilation
        "hypothesis>=6.150,<7",
        "beartype>=0.22,<0.24",  # checks the jaxtyping annotations at run time
        "scikit-learn>=1.6,<2",  # nDCG, a peer
        "selenium>=4.40,<5",  # a headless browser on the page of orl_jax/oracles/people
        "ruff>=0.17.6,<0.18",  # a formatter's minor versions may format differently
        "pre-commit>=4,<5",
        "pyarrow>=18",  # tables of source.name=video_mme
        "sentencepiece>=0.2,<0.3",  # reads a tokenizer.model, as the baseline's folders have
    ],
    "torch": ["torch==2.13.0"],  # parity tests; pinned: a looser pin may install another build
    # TRL's loss on the same tensors, PEFT's adapters; both need torch.
    "peers": ["trl==1.16.0", "peft==0.21.2"],
    "parquet": ["pyarrow>=18"],  # Video-MME's table (source.name=video_mme)
    "embeddings": ["sentence-transformers>=6,<7"],  # of oracle.name=embedding; needs torch
    # transformers reads the real SmolLM2 with gguf; its server is a judge written by others.
    "real": ["gguf==0.19.0", "transformers[serving]>=5.23,<6"],
    "docs": ["pdoc>=16,<17"],  # API pages from the docstrings (make docs)
    "gpu": ["jax[cuda12]"],  # any driver from 525 on; for CUDA 13: pip install "jax[cuda13]"
}

setup(
    name="orl_jax",
    version=VERSION,
    description="Oracle-RLAIF in JAX: fine-tuning video-language models from an Oracle's rankings.",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["orl_jax", "orl_jax.*"]),
    package_data={
        "orl_jax.report": ["*.html", "*.jinja", "*.css"],
        "orl_jax.oracles.audit": ["*.jinja"],
        "orl_jax.evaluation.benchmarks": ["*.jinja", "*.css"],
        "orl_jax.oracles.people": ["*.html", "*.css", "*.js"],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
