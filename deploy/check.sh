#!/usr/bin/env bash
# Starts Spaceport once in each way it is deployed, and waits until it is healthy.
#
#   deploy/check.sh [--allow-missing] target/release/spaceport [base image]
#
# The container image is made from the given binary, so no registry is needed; the base image is any
# Debian or Ubuntu that the engine has or can pull, and Debian's packages must be in reach for the systemd
# that the unit is started by. What this machine cannot do (no compose plugin, an image that cannot be pulled) is left out
# and said; the check fails then, unless it is told --allow-missing.
#
# An installation that serves on the same engine keeps its network and its packet filter: the check has its own, which
# go with it. An empty folder in the engine's data root stays.
set -euo pipefail

allow_missing=
if [[ ${1:-} == --allow-missing ]]; then
    allow_missing=yes
    shift
fi
binary=$(realpath "${1:?usage: deploy/check.sh [--allow-missing] PATH-OF-THE-BINARY [BASE-IMAGE]}")
base=${2:-debian:bookworm-slim}
port=${SPACEPORT_CHECK_PORT:-18080}
deploy=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
name=spaceport-check-$$
postgres=${POSTGRES_IMAGE:-postgres:17-alpine}
compose=()
DOCKER_DATA_ROOT=$(docker info --format '{{.DockerRootDir}}')
export DOCKER_DATA_ROOT

# The packet filter of the check's own network, whose chains are named after its bridge.
remove_network() {
    local bridge
    bridge=$(docker network inspect --format '{{index .Options "com.docker.network.bridge.name"}}' "$name" 2>/dev/null) || return 0
    docker run --rm --network host --user 0 --cap-drop ALL --cap-add SYS_CHROOT --cap-add DAC_OVERRIDE \
        --cap-add NET_ADMIN --cap-add NET_RAW --security-opt label=disable --volume /:/host --entrypoint chroot \
        "$base" /host /bin/sh -c '
            PATH=/usr/sbin:/sbin:/usr/bin:/bin
            for from in "DOCKER-USER $0-F" "INPUT $0-I"; do
                set -- $from
                iptables -w 5 -S "$1" | sed -n "s/^-A \(.* -j $2\)\$/\1/p" | while read -r rule; do
                    iptables -w 5 -D $rule
                done
                iptables -w 5 -F "$2" && iptables -w 5 -X "$2"
            done' "SPACEPORT-${bridge: -8}" >/dev/null 2>&1 || echo "the packet filter SPACEPORT-${bridge: -8} is left" >&2
    docker network rm "$name" >/dev/null
}

clean_up() {
    if ((${#compose[@]})); then
        "${compose[@]}" --profile postgres down --volumes --timeout 10 >/dev/null 2>&1 || true
    fi
    docker rm --force --volumes "$name" "$name-systemd" >/dev/null 2>&1 || true
    docker image rm --force "$name" "$name-systemd" >/dev/null 2>&1 || true
    remove_network || true
    rm -rf "$work"
}
trap clean_up EXIT

left_out=()
# Usage: leave_out WHAT WHY
leave_out() {
    left_out+=("$1")
    echo "   LEFT OUT: $1: $2"
}

# Usage: healthy COMMAND-THAT-SHOWS-THE-LOG…
healthy() {
    local until=$((SECONDS + 60))
    until curl --fail --silent --max-time 5 --output /dev/null "http://localhost:$port/api/health"; do
        if ((SECONDS > until)); then
            echo "not healthy after 60 s; its log:" >&2
            "$@" >&2 || true
            exit 1
        fi
        sleep 0.2
    done
}

# Usage: compose_up PROFILE; with the variables of .env in the environment.
compose_up() {
    COMPOSE_PROFILES=$1 "${compose[@]}" up --detach --no-build --quiet-pull >/dev/null 2>&1
    healthy "${compose[@]}" logs
    # Without it, nobody would notice that the engine's disk is nearly full.
    "${compose[@]}" exec -T spaceport test -d "$DOCKER_DATA_ROOT"
    echo "   ${1:-SQLite}: healthy"
    COMPOSE_PROFILES=$1 "${compose[@]}" down --volumes --timeout 60 >/dev/null 2>&1
}

echo "== container image"
mkdir "$work/image"
install -m 0755 "$binary" "$work/image/spaceport"
docker build --quiet --file "$deploy/Dockerfile" --target prebuilt --build-arg "BASE=$base" --tag "$name" "$work/image"
# Not root, it sets the packet filter through a helper container, from an image the engine has. The network is its
# own: an installation that runs on this engine keeps its filter.
printf '[docker]\nhelper_image = "%s"\nnetwork = "%s"\n' "$base" "$name" >"$work/spaceport.toml"
chmod 0644 "$work/spaceport.toml"
chmod 0755 "$work"
# The flags of compose.yaml. The data directory is a volume here, which takes the image's owner.
docker run --detach --name "$name" --network host --pid host --read-only --tmpfs /tmp \
    --cap-drop ALL --security-opt no-new-privileges:true \
    --group-add "$(stat -c %g /var/run/docker.sock)" \
    --volume /var/run/docker.sock:/var/run/docker.sock --volume /var/lib/spaceport \
    --volume "$DOCKER_DATA_ROOT/spaceport:$DOCKER_DATA_ROOT:ro" \
    --volume "$work/spaceport.toml:/etc/spaceport.toml:ro" --env SPACEPORT_CONFIG=/etc/spaceport.toml \
    --env "SPACEPORT_LISTEN=127.0.0.1:$port" --env "SPACEPORT_HUB_URL=http://localhost:$port" \
    --env "SPACEPORT_SPACES_DOMAIN=localhost:$port" \
    "$name" >/dev/null
healthy docker logs "$name"
echo "   healthy"
if curl --silent "http://localhost:$port/api/health" | grep --quiet 'room is left'; then
    echo "the room on the engine's disk is not seen" >&2
    exit 1
fi
# The image's own health check, as the engine runs it.
docker exec "$name" sh -c "$(docker inspect --format '{{index .Config.Healthcheck.Test 3}}' "$name")"
echo "   its health check agrees"
before=$SECONDS
docker stop --time 60 "$name" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$name")
if [[ $code != 0 ]]; then
    echo "SIGTERM ended it with code $code instead of 0" >&2
    exit 1
fi
echo "   stopped cleanly in $((SECONDS - before)) s"
docker rm --volumes "$name" >/dev/null

echo "== compose file"
if docker compose version >/dev/null 2>&1; then
    export SPACEPORT_IMAGE=$name SPACEPORT_LISTEN=127.0.0.1:$port SPACEPORT_HUB_URL=http://localhost:$port
    export SPACEPORT_SPACES_DOMAIN=localhost:$port SPACEPORT_CONFIG=/etc/spaceport.toml
    DOCKER_GID=$(stat -c %g /var/run/docker.sock)
    export DOCKER_GID POSTGRES_PASSWORD=only-for-this-check
    # What differs from an admin's: data of its own, and the helper image of this engine.
    install -d -m 0777 "$work/data"
    cat >"$work/override.yaml" <<EOF
services:
  spaceport:
    volumes:
      - $work/data:/var/lib/spaceport
      - $work/spaceport.toml:/etc/spaceport.toml:ro
EOF
    compose=(docker compose --project-name "$name" --file "$deploy/compose.yaml" --file "$work/override.yaml")
    SPACEPORT_DATABASE_URL='' compose_up ""
    if docker image inspect "$postgres" >/dev/null 2>&1 || docker pull --quiet "$postgres"; then
        SPACEPORT_DATABASE_URL=postgres://spaceport:$POSTGRES_PASSWORD@127.0.0.1:5432/spaceport compose_up postgres
    else
        "${compose[@]}" --profile postgres config --quiet
        leave_out "PostgreSQL" "valid, not started: $postgres cannot be pulled"
    fi
else
    leave_out "compose file" "no compose plugin (install docker-compose-plugin)"
fi

echo "== systemd unit"
if command -v systemd-analyze >/dev/null; then
    sed "s|^ExecStart=[^ ]*|ExecStart=$binary|" "$deploy/spaceport.service" >"$work/spaceport.service"
    systemd-analyze verify "$work/spaceport.service"
    echo "   valid"
else
    leave_out "systemd-analyze verify" "systemd-analyze is not installed"
fi
# In a container whose first process is systemd: the unit is started as it is, whatever runs this machine.
docker build --quiet --network host --tag "$name-systemd" - <<EOF
FROM $base
USER root
RUN apt-get update -qq && apt-get install -qqy --no-install-recommends systemd dbus && apt-get clean
EOF
docker run --detach --name "$name-systemd" --network host --tmpfs /run:exec --tmpfs /run/lock --tmpfs /tmp \
    --cap-add SYS_ADMIN --cap-add SYS_PTRACE --cap-add NET_ADMIN --security-opt seccomp=unconfined \
    --security-opt apparmor=unconfined --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup \
    --volume /var/run/docker.sock:/run/docker.sock "$name-systemd" /lib/systemd/systemd >/dev/null
inside() { docker exec "$name-systemd" "$@"; }
inside groupadd --gid "$(stat -c %g /var/run/docker.sock)" docker
inside useradd --system --home-dir /var/lib/spaceport --shell /usr/sbin/nologin spaceport
inside install -d -m 0755 /etc/spaceport
cat >"$work/spaceport.env" <<EOF
SPACEPORT_LISTEN=127.0.0.1:$port
SPACEPORT_HUB_URL=http://localhost:$port
SPACEPORT_SPACES_DOMAIN=localhost:$port
SPACEPORT_CONFIG=/etc/spaceport/spaceport.toml
EOF
docker cp "$binary" "$name-systemd:/usr/local/bin/spaceport"
docker cp "$work/spaceport.env" "$name-systemd:/etc/spaceport/spaceport.env"
docker cp "$work/spaceport.toml" "$name-systemd:/etc/spaceport/spaceport.toml"
docker cp "$deploy/spaceport.service" "$name-systemd:/etc/systemd/system/spaceport.service"
inside systemctl daemon-reload
inside systemctl start spaceport
healthy inside journalctl --unit spaceport --no-pager
echo "   healthy"
inside systemctl stop spaceport
result=$(inside systemctl show --property Result --value spaceport)
if [[ $result != success ]]; then
    echo "the unit stopped with $result" >&2
    exit 1
fi
echo "   stopped cleanly; $(inside systemd-analyze security spaceport --no-pager | tail -1)"

if ((${#left_out[@]})); then
    printf '== LEFT OUT: %s\n' "${left_out[@]}"
    if [[ -z $allow_missing ]]; then
        echo "not everything was checked; --allow-missing takes that for an answer" >&2
        exit 1
    fi
fi
