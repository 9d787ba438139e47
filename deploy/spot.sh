#!/bin/sh
# Look for a cloud's notice that it takes this machine away, and then let its workers take no more orders.
#
#   spot.sh aws|gcp FILE     FILE is what `veilfarm serve --leave-file` names
#
# METADATA overrides the address of the cloud's metadata service, for tests.
set -eu

cloud=${1:?is aws or gcp}
file=${2:?is the leave file}

case $cloud in
    aws)
        base=${METADATA:-http://169.254.169.254}
        noticed() {
            token=$(curl -sf -m 2 -X PUT "$base/latest/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60') &&
                curl -sf -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" \
                    "$base/latest/meta-data/spot/instance-action"
        }
        ;;
    gcp)
        base=${METADATA:-http://metadata.google.internal}
        noticed() {
            [ "$(curl -sf -m 2 -H 'Metadata-Flavor: Google' "$base/computeMetadata/v1/instance/preempted")" = TRUE ]
        }
        ;;
    *) echo "spot.sh: the cloud is aws or gcp, not $cloud" >&2; exit 2 ;;
esac

until noticed; do sleep "${EVERY:-5}"; done
echo "the cloud takes this machine away" >&2
mkdir -p "$(dirname "$file")"
touch "$file"
