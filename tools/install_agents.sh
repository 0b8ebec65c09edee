#!/bin/sh
# install_agents.sh DIR PACKAGE@VERSION...: puts coding-agent CLIs into DIR, each once; their own install scripts do not run.
# Where they cannot be had it says why and is content: the tests that need them are then left out, with the reason.
set -u

dir=$1
shift

# The file that says which version of a package was installed to the end.
stamp() {
    echo "$dir/$(echo "${1%@*}" | tr '/' '+').version"
}

for package in "$@"; do
    shift
    [ -d "$dir/node_modules/${package%@*}" ] && [ "$(cat "$(stamp "$package")" 2>/dev/null)" = "${package##*@}" ] ||
        set -- "$@" "$package"
done
[ $# -eq 0 ] && exit 0
if ! command -v npm >/dev/null 2>&1; then
    echo "npm is not there: the tests with the real agent CLIs are left out (Debian: apt-get install npm)" >&2
    exit 0
fi
echo "Installing $* for the tests, into $dir" >&2
mkdir -p "$dir"
for package in "$@"; do
    rm -f "$(stamp "$package")"
done
if npm install --prefix "$dir" --no-audit --no-fund --ignore-scripts --no-package-lock \
    --omit-lockfile-registry-resolved --fetch-retry-maxtimeout=15000 --loglevel=error "$@" >"$dir/install.log" 2>&1
then
    for package in "$@"; do
        echo "${package##*@}" >"$(stamp "$package")"
    done
else
    cat "$dir/install.log" >&2
    echo "npm could not install them: the tests with the real agent CLIs are left out" >&2
fi
