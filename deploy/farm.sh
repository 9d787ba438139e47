#!/bin/sh
# Start one part of a farm and stay until it ends: for systemd units, for containers, and for people at a shell.
#
#   farm.sh head           Ray's head: keeps the list of machines, does no work
#   farm.sh worker         a machine that works; on SIGTERM its workers end what they do, and get nothing new
#   farm.sh controller …   `veilfarm serve` beside a Ray node of its own that does no work; … are its options
#   farm.sh veilfarm …     any command of veilfarm
#   farm.sh healthy        0 while this machine's Ray answers
#
# RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH (a file) or RAY_AUTH_TOKEN
#                    always: who may talk to Ray may run anything on all machines
# FARM_HEAD          host of the head, for worker and controller
# FARM_ADDRESS       this machine's address in the farm's network; without it, the one by which it reaches the head
# FARM_RAY_OPTIONS   more options for `ray start`
# FARM_LEAVE_FILE    what `veilfarm serve --leave-file` names; without it a worker that is stopped drops what it does
# FARM_LEAVE_SECONDS how long a worker that is stopped waits for its chunks at most; 120
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$here/.." && pwd)/.venv/bin
head_port=6379
node_port=6380

die() { echo "farm.sh: $*" >&2; exit 2; }

# shellcheck disable=SC2034  # eval uses it
while IFS='=' read -r name value; do
    case $name in '' | '#'*) ;; *) eval "export $name=\"\${$name:-\$value}\"" ;; esac
done <"$here/ray.env"

secured() {
    [ "$RAY_AUTH_MODE" = token ] || die "a farm's Ray needs RAY_AUTH_MODE=token, not '$RAY_AUTH_MODE'"
    [ -n "${RAY_AUTH_TOKEN:-}" ] || [ -s "${RAY_AUTH_TOKEN_PATH:-/nonexistent}" ] ||
        die "there is no token; let RAY_AUTH_TOKEN_PATH name a file that has it"
}

options() {  # the ports are fixed, so that a firewall can know them
    echo "--disable-usage-stats ${FARM_ADDRESS:+--node-ip-address=$FARM_ADDRESS}" \
        "--node-manager-port=$node_port --object-manager-port=6381 --runtime-env-agent-port=6382" \
        "--dashboard-agent-grpc-port=6383 --dashboard-agent-listen-port=6384 --metrics-export-port=6385" \
        "--min-worker-port=10002 --max-worker-port=10999" \
        "--object-store-memory=268435456 ${FARM_RAY_OPTIONS:-}"
}

join() {
    [ -n "${FARM_HEAD:-}" ] || die "FARM_HEAD is not set; it is the host of the head"
    [ -n "${FARM_ADDRESS:-}" ] || FARM_ADDRESS=$("$bin/python" -c 'import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 9))
print(s.getsockname()[0])' "$FARM_HEAD") || die "$FARM_HEAD can't be found"
}

leave() {
    trap '' TERM INT
    [ -z "${FARM_LEAVE_FILE:-}" ] || "$bin/python" "$here/leave.py" "$FARM_LEAVE_FILE" "${FARM_LEAVE_SECONDS:-120}" || :
    kill -TERM "$ray" 2>/dev/null || :
    wait "$ray" || :
    exit 0
}

role=${1:-}
[ $# -eq 0 ] || shift
# shellcheck disable=SC2046  # options are several words
case $role in
    head)
        secured
        exec "$bin/ray" start --head --port=$head_port --num-cpus=0 --num-gpus=0 --include-dashboard=false \
            $(options) --block
        ;;
    worker)
        secured
        join
        [ -z "${FARM_LEAVE_FILE:-}" ] || rm -f "$FARM_LEAVE_FILE"
        "$bin/ray" start --address="$FARM_HEAD:$head_port" $(options) --block &
        ray=$!
        trap leave TERM INT
        wait "$ray"  # ends with 1 when the head has taken this machine for dead: whoever supervises starts it again
        ;;
    controller)
        secured
        join
        "$bin/ray" start --address="$FARM_HEAD:$head_port" --num-cpus=0 --num-gpus=0 $(options)
        exec "$bin/veilfarm" serve --ray auto "$@"
        ;;
    veilfarm) exec "$bin/veilfarm" "$@" ;;
    healthy)
        exec "$bin/python" -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)' \
            "${FARM_ADDRESS:-127.0.0.1}" $node_port
        ;;
    *) die "say head, worker, controller, veilfarm or healthy, not '$role'" ;;
esac
