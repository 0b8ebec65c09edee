#!/bin/sh
# Prints the Python that can make aiframe's virtual environment, or says on standard error how to get one.
# A name is tried by running it: version switchers leave commands on PATH that only print an error.
set -u

is_new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
can_make_venv='import ensurepip, venv'
without_venv=

for name in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
    "$name" -c "$is_new_enough" >/dev/null 2>&1 || continue
    if "$name" -c "$can_make_venv" >/dev/null 2>&1; then
        command -v "$name"
        exit 0
    fi
    without_venv=${without_venv:-$name}
done

if [ -n "$without_venv" ]; then
    version=$("$without_venv" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    echo "error: $(command -v "$without_venv") has no venv module, or no ensurepip for it." >&2
    echo "  Debian, Ubuntu:  apt-get install python3-venv   (or $version-venv, for another than the system's Python)" >&2
else
    found=$(python3 --version 2>/dev/null) || found="no python3"
    echo "error: aiframe needs Python 3.11 or newer; PATH has ${found}${PYTHON:+, and PYTHON names $PYTHON}." >&2
    echo "  Debian 12, Ubuntu 24.04 and newer:  apt-get install python3 python3-venv" >&2
    echo "  Fedora:  dnf install python3.13      macOS:  brew install python@3.13" >&2
fi
echo "  Then give the same command again, or name a Python:  make demo PYTHON=/path/to/python3" >&2
exit 1
