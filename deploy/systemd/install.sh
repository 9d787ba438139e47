#!/bin/sh
# Make this machine a part of a farm: install the systemd units of its roles, and start them. Run as root; running it
# again changes what has changed.
#
#   install.sh --from DIR [--head HOST] [--address IP] [--ray OPTIONS] ROLE…
#
# ROLE      head, worker, controller, spot
# --from    a folder with farm.env, s3.env and ray.token; they go to /etc/veilfarm, readable for root only
# --head    host of Ray's head; needed by workers
# --address this machine's address in the farm's network
# --ray     more options for `ray start`
set -eu
cd "$(dirname "$0")"

from='' head='' address='' ray=''
while [ $# -gt 0 ]; do
    case $1 in
        --from) from=$2; shift 2 ;;
        --head) head=$2; shift 2 ;;
        --address) address=$2; shift 2 ;;
        --ray) ray=$2; shift 2 ;;
        -*) echo "install.sh: there is no option $1" >&2; exit 2 ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || { echo "install.sh: which role? head, worker, controller or spot" >&2; exit 2; }
for role in "$@"; do
    [ -f "veilfarm-$role.service" ] || { echo "install.sh: there is no role $role" >&2; exit 2; }
done
[ "$(realpath ../..)" = /opt/veilfarm ] || { echo "install.sh: the project has to be in /opt/veilfarm" >&2; exit 2; }

id veilfarm >/dev/null 2>&1 || useradd --system --home-dir /var/lib/veilfarm --create-home veilfarm
install -d -m 755 /etc/veilfarm
for file in farm.env s3.env ray.token; do
    [ -z "$from" ] || [ ! -f "$from/$file" ] || install -m 600 "$from/$file" "/etc/veilfarm/$file"
done
[ -s /etc/veilfarm/ray.token ] || { echo "install.sh: /etc/veilfarm/ray.token is missing; see --from" >&2; exit 2; }
umask 077
printf 'FARM_HEAD=%s\nFARM_ADDRESS=%s\nFARM_RAY_OPTIONS=%s\n' "$head" "$address" "$ray" >/etc/veilfarm/node.env

network=$(sed -n 's/^FARM_NETWORK=//p' /etc/veilfarm/farm.env)
if command -v nft >/dev/null && [ -n "$network" ]; then
    sed "s|10\.0\.0\.0/24|$network|" veilfarm.nft >/etc/veilfarm/farm.nft
    nft -f /etc/veilfarm/farm.nft
else
    echo "install.sh: no nft, or no FARM_NETWORK: see to it yourself that Ray's ports are closed to others" >&2
fi

for role in "$@"; do
    install -m 644 "veilfarm-$role.service" /etc/systemd/system/
done
systemctl daemon-reload
for role in "$@"; do
    systemctl enable --quiet "veilfarm-$role.service"
    systemctl restart "veilfarm-$role.service"
done
