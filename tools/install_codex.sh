#!/bin/sh
# install_codex.sh VERSION DIR: puts the codex CLI into DIR, once, and prints the path of its program.
# Where it cannot be had it prints nothing and says why: the tests that need it are then left out, with the reason.
set -u

version=$1
dir=$2
stamp=$dir/codex-$version

program() {
    find "$dir/node_modules/@openai" -type f -path '*/bin/codex' -perm -u+x 2>/dev/null | head -n 1
}

if [ -f "$stamp" ] && [ -n "$(program)" ]; then
    program
    exit 0
fi
if ! command -v npm >/dev/null 2>&1; then
    echo "npm is not there: the tests with the real codex CLI are left out (Debian: apt-get install npm)" >&2
    exit 0
fi
echo "Installing the codex CLI $version for the tests, into $dir" >&2
mkdir -p "$dir"
if npm install --prefix "$dir" --no-audit --no-fund --ignore-scripts --no-package-lock \
    --omit-lockfile-registry-resolved --fetch-retry-maxtimeout=15000 --loglevel=error "@openai/codex@$version" >"$dir/install.log" 2>&1
then
    touch "$stamp"
    program
else
    cat "$dir/install.log" >&2
    echo "npm could not install it: the tests with the real codex CLI are left out" >&2
fi
