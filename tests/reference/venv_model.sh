#!/bin/sh
# venv_model.sh FOLDER: a Python with PyTorch and transformers in FOLDER, for compare_transformers.py.
#
# The distribution's python3-torch is taken where it is installed: PyPI's wheel for Linux brings
# several gigabytes of CUDA libraries. transformers 4.41 works with the PyTorch of Debian
# 12 and Ubuntu 24.04 (1.13, 2.1), later ones do not; with PyTorch 2.4 or later, the newest.
set -eu
folder=$1
rm -rf "$folder.partial"
if /usr/bin/python3 -c 'import torch' 2>/dev/null; then
  /usr/bin/python3 -m venv --system-site-packages "$folder.partial"
else
  python3 -m venv "$folder.partial"
  "$folder.partial/bin/pip" -q install torch
fi
if "$folder.partial/bin/python3" -c 'import sys, torch
sys.exit([int(n) for n in torch.__version__.split(".")[:2]] >= [2, 4])'; then
  "$folder.partial/bin/pip" -q install 'transformers==4.41.2' safetensors numpy
else
  "$folder.partial/bin/pip" -q install transformers safetensors numpy
fi
mv "$folder.partial" "$folder"
