#!/usr/bin/env bash
# Install Debian's PETSc, petsc4py, mpi4py and Open MPI, and make .venv-mpi, with which the tests of
# neuprecond.petsc run. Needs Debian's Python and, where the packages are not there yet, apt-get and
# root. Does nothing where all of it is there.
#
# Debian's petsc4py was compiled against NumPy 1 and fails to import under NumPy 2: that environment,
# and no other, holds NumPy below 2. Prints what it installs and ends with an error where it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv-mpi
# The builds with 64-bit indices and with complex numbers are there to be tested against, too.
PACKAGES=(
    python3-petsc4py python3-petsc4py-real python3-petsc4py-64-real python3-petsc4py-complex
    python3-mpi4py openmpi-bin python3-venv
)

missing=()
for package in "${PACKAGES[@]}"; do
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
        missing+=("$package")
    fi
done
if ((${#missing[@]})); then
    echo "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# The packages were compiled for the distribution's Python, whatever comes first in PATH.
python=$(dpkg -L python3-minimal | grep -m 1 'bin/python3$')

stamp=$VENV/mpi.stamp
if [[ ! -e $stamp || pyproject.toml -nt $stamp || scripts/install-mpi.sh -nt $stamp ]]; then
    echo "making $VENV: what neuprecond needs, scikit-fem, pytest, NumPy below 2"
    "$python" -m venv --system-site-packages "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        'numpy<2' pytest --editable '.[problems]'
    touch "$stamp"
fi

# Without PETSC_DIR Debian's petsc4py is not found: a line for each build, its name and its folder.
for name in real 64-real complex; do
    package=$(dpkg-query -W -f '${Package}\n' "python3-petsc4py-${name}3*" | head -n 1)
    library=$(dpkg -L "$package" | grep -m 1 'petscdir/.*/lib$')
    echo "$name $(dirname "$library")"
done >"$VENV/petsc-builds"
PETSC_DIR=$(sed -n 's/^real //p' "$VENV/petsc-builds") "$VENV/bin/python" -c '
import mpi4py, numpy, petsc4py, scipy
print("petsc4py", petsc4py.__version__, "mpi4py", mpi4py.__version__,
      "numpy", numpy.__version__, "scipy", scipy.__version__)'
