#!/bin/sh
# Makes a new .venv in place of one that is missing, broken or was moved, and notes where it stands.
set -eu

python=$(tools/find_python.sh)
echo "Creating .venv with $("$python" --version)"
rm -rf .venv
"$python" -m venv .venv
pwd >.venv/place
