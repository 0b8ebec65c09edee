#!/bin/sh
# Puts `aiframe` on PATH for the person who calls it: with pipx where it is there, else in a virtual environment of its own.
set -eu

if command -v pipx >/dev/null 2>&1; then
    echo "Installing aiframe with pipx"
    pipx install --force --python "$(tools/find_python.sh)" --pip-args=--constraint=constraints.txt .
    exit 0
fi

home=$HOME/.local/share/aiframe
link=$HOME/.local/bin/aiframe
python=$(tools/find_python.sh)
if [ -e "$link" ] && [ ! -L "$link" ]; then
    echo "error: $link is there and is no link of ours; move it away and give the same command again" >&2
    exit 1
fi
echo "Installing aiframe into $home"
"$python" -m venv --clear "$home"
"$home/bin/python" -m pip install -qq --disable-pip-version-check --constraint constraints.txt .
mkdir -p "$HOME/.local/bin"
ln -sfn "$home/bin/aiframe" "$link"
echo "Linked $link"
case ":$PATH:" in
    *":$HOME/.local/bin:"*) ;;
    *) echo "$HOME/.local/bin is not on PATH yet. Add this line to your shell's start-up file:"
       echo "  export PATH=\"\$HOME/.local/bin:\$PATH\"" ;;
esac
echo "To remove it:  rm -r $home $link"
