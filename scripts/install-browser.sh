#!/usr/bin/env bash
# Install Debian's chromium and its driver, with which the tests open the map's page. Without them
# those tests are skipped. Needs apt-get and root; does nothing where both programs are there.
set -euo pipefail
if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null
