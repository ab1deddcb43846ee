#!/usr/bin/env bash
# Starts Spaceport once in each way it is deployed, and waits until it is healthy.
#
#   deploy/check.sh target/release/spaceport [base image]
#
# The container image is made from the given binary, so no registry is needed; the base image is any
# Debian or Ubuntu that the engine has or can pull. What this machine cannot do (no systemd, no
# compose plugin) is said and left out. Nothing is left behind.
set -euo pipefail

binary=$(realpath "${1:?usage: deploy/check.sh PATH-OF-THE-BINARY [BASE-IMAGE]}")
base=${2:-debian:bookworm-slim}
port=${SPACEPORT_CHECK_PORT:-18080}
deploy=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
name=spaceport-check-$$
unit=/run/systemd/system/$name.service

clean_up() {
    docker rm --force "$name" >/dev/null 2>&1 || true
    docker image rm --force "$name" >/dev/null 2>&1 || true
    if [[ -e $unit ]]; then
        systemctl stop "$name" || true
        rm -f "$unit"
        systemctl daemon-reload
    fi
    rm -rf "$work"
}
trap clean_up EXIT

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

echo "== container image"
mkdir "$work/image"
install -m 0755 "$binary" "$work/image/spaceport"
docker build --quiet --file "$deploy/Dockerfile" --target prebuilt --build-arg "BASE=$base" --tag "$name" "$work/image"
# Not root, it sets the packet filter through a helper container, from an image the engine has.
printf '[docker]\nhelper_image = "%s"\n' "$base" >"$work/spaceport.toml"
chmod 0644 "$work/spaceport.toml"
chmod 0755 "$work"
# The flags of compose.yaml. The data directory is a volume here, which takes the image's owner.
docker run --detach --name "$name" --network host --pid host --read-only --tmpfs /tmp \
    --cap-drop ALL --security-opt no-new-privileges:true \
    --group-add "$(stat -c %g /var/run/docker.sock)" \
    --volume /var/run/docker.sock:/var/run/docker.sock --volume /var/lib/spaceport \
    --volume "$work/spaceport.toml:/etc/spaceport.toml:ro" --env SPACEPORT_CONFIG=/etc/spaceport.toml \
    --env "SPACEPORT_LISTEN=127.0.0.1:$port" --env "SPACEPORT_HUB_URL=http://localhost:$port" \
    --env "SPACEPORT_SPACES_DOMAIN=localhost:$port" \
    "$name" >/dev/null
healthy docker logs "$name"
echo "   healthy"
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
    for profile in "" postgres; do
        SPACEPORT_HUB_URL=https://hub.example.com SPACEPORT_SPACES_DOMAIN=example-apps.com DOCKER_GID=999 \
            COMPOSE_PROFILES=$profile docker compose --file "$deploy/compose.yaml" config --quiet
    done
    echo "   valid"
else
    echo "   left out: no compose plugin (install docker-compose-plugin)"
fi

echo "== systemd unit"
if command -v systemd-analyze >/dev/null; then
    sed "s|^ExecStart=[^ ]*|ExecStart=$binary|" "$deploy/spaceport.service" >"$work/spaceport.service"
    systemd-analyze verify "$work/spaceport.service"
    echo "   valid"
else
    echo "   left out: no systemd-analyze (install systemd)"
fi
if [[ -d /run/systemd/system && $EUID == 0 ]]; then
    # A binary below /home or /tmp would be hidden from the service.
    sed -e "s|^ExecStart=.*|ExecStart=/run/$name/spaceport serve|" \
        -e "s|^EnvironmentFile=.*|Environment=SPACEPORT_LISTEN=127.0.0.1:$port SPACEPORT_HUB_URL=http://localhost:$port SPACEPORT_SPACES_DOMAIN=localhost:$port|" \
        -e "s|^User=.*|DynamicUser=yes|" -e "/^Group=/d" -e "s|^Restart=.*|Restart=no|" \
        -e "s|^StateDirectory=.*|RuntimeDirectory=$name-data|; s|^StateDirectoryMode=|RuntimeDirectoryMode=|" \
        -e "s|/var/lib/spaceport|/run/$name-data|" \
        "$deploy/spaceport.service" >"$unit"
    install -D -m 0755 "$binary" "/run/$name/spaceport"
    trap 'clean_up; rm -rf "/run/$name"' EXIT
    systemctl daemon-reload
    systemctl start "$name"
    healthy journalctl --unit "$name" --no-pager
    echo "   healthy"
    systemctl stop "$name"
    echo "   stopped: $(systemctl show --property Result --value "$name")"
else
    echo "   not started: that needs root on a machine that runs systemd"
fi
