#!/usr/bin/env bash
# Installs what rsidiff is built from: Debian packages, and LibTorch as the pinned PyPI wheel in .venv.
#
#   bash deploy/install_deps.sh [--tests] [--no-torch]
#
#   --tests     also what the tests need (linters, Prometheus, and a second environment, .venv-test,
#               with diffusers and transformers that reads torch from .venv)
#   --no-torch  leave LibTorch out (for a build with -DRSIDIFF_WORKER=OFF)
#
# Skips what is there already. Needs root or sudo for the Debian packages.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=0
torch=1
for argument in "$@"; do
  case "$argument" in
    --tests) tests=1 ;;
    --no-torch) torch=0 ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "install_deps.sh: unknown option '$argument' (see --help)" >&2; exit 2 ;;
  esac
done

packages=(
  build-essential cmake ninja-build pkg-config ccache mold python3 python3-venv
  libabsl-dev libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  librocksdb-dev prometheus-cpp-dev libcpp-httplib-dev libyaml-cpp-dev nlohmann-json3-dev
  libspdlog-dev libcli11-dev libpng-dev libicu-dev libssl-dev libgloo-dev libjemalloc-dev
)
test_packages=(
  libgtest-dev libgmock-dev libbenchmark-dev clang clang-format clang-tidy libfuzzer-14-dev libclang-rt-14-dev
  shellcheck prometheus curl
)
if [ "$tests" = 1 ]; then packages+=("${test_packages[@]}"); fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  run=()
  if [ "$(id -u)" != 0 ]; then run=(sudo); fi
  echo "Installing Debian packages: ${missing[*]}"
  # Debian starts a packaged Prometheus at installation; the tests start their own.
  "${run[@]}" apt-get update -qq
  "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi

# Makes environment $1 hold what requirements file $2 pins. The stamp is written last, so an
# interrupted installation is done again.
install_environment() {
  local environment=$1 requirements=$2
  if cmp -s "$requirements" "$environment/.installed"; then return; fi
  echo "Installing $requirements into $environment"
  if [ ! -x "$environment/bin/python" ]; then python3 -m venv "$environment"; fi
  "$environment/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$requirements"
  cp "$requirements" "$environment/.installed"
}

if [ "$torch" = 1 ]; then install_environment .venv deploy/requirements.txt; fi
if [ "$tests" = 1 ] && [ "$torch" = 1 ]; then
  python3 -m venv .venv-test
  # The test environment reads torch from .venv instead of holding five gigabytes of it twice.
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "$site" > "$(.venv-test/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch_environment.pth"
  install_environment .venv-test deploy/requirements-test.txt
fi
