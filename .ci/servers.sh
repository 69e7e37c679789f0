# Shared by .ci/kafka and .ci/s3: one server in one folder, started and stopped safely by anyone.
# .ci/duckdb shares how things are fetched.
#
# A folder (DIR) holds one instance: `lock` serialises start and stop, `pid` and `env` exist while
# it runs, `log` is its output, `data` survives a stop, `ports` keeps its ports the same.

cache=${MILLRACE_TEST_CACHE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

say() { echo "$tool: $*" >&2; }
die() { say "$@"; exit 1; }

# need COMMAND HINT: stops with the hint when the command is missing.
need() { command -v "$1" >/dev/null 2>&1 || die "\`$1\` is missing: $2 (or run .ci/setup)"; }

# with_lock FILE COMMAND...: runs a function of this script while no other process runs one.
with_lock() {
  local file=$1
  shift
  mkdir -p "$(dirname "$file")"
  exec 9>"$file"
  flock -w 600 9 || die "another process holds $file for 10 minutes"
  "$@"
  exec 9>&-
}

# python_venv FOLDER REQUIREMENT: makes a Python environment of its own with a package from PyPI.
python_venv() {
  need python3 "install python3 and python3-venv"
  python3 -c 'import ensurepip, venv' 2>/dev/null || die "python3 has no venv: install python3-venv"
  say "fetching $2 from PyPI"
  rm -rf "$1"
  python3 -m venv "$1" >&2
  "$1/bin/python" -m pip install -q --disable-pip-version-check "$2" >&2 ||
    { rm -rf "$1"; die "pip could not fetch $2; is PyPI reachable?"; }
}

free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: prints a port below the range that outgoing connections use, and that nobody was given
# in the last hour: servers that start at the same time do not listen yet, and one that was stopped
# comes back to its ports.
free_port() {
  local given=$cache/given-ports now port
  exec 8>"$given.lock"
  flock -w 60 8 || die "another process holds $given.lock for a minute"
  now=$(date +%s)
  touch "$given"
  awk -v since=$((now - 3600)) '$2 > since' "$given" >"$given.new"
  mv "$given.new" "$given"
  for _ in $(seq 200); do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if ! grep -q "^$port " "$given" && free "$port"; then
      echo "$port $now" >>"$given"
      echo "$port"
      return
    fi
  done
  die "no free port found"
}

# choose_ports COUNT: sets `ports`, the same as last time when they are still free.
choose_ports() {
  local count=$1 port
  ports=()
  if [ -f "$dir/ports" ]; then read -r -a ports <"$dir/ports"; fi
  if [ -n "$port_wanted" ]; then ports[0]=$port_wanted; fi
  for ((index = 0; index < count; index++)); do
    port=${ports[$index]:-}
    if [ -n "$port" ] && ! free "$port"; then
      [ "$index" -gt 0 ] || [ -z "$port_wanted" ] || die "port $port is taken"
      port=
    fi
    ports[index]=${port:-$(free_port)}
  done
  echo "${ports[*]}" >"$dir/ports"
}

# running: whether the process of `pid` is alive and is ours (its command line names the folder).
running() {
  local pid
  pid=$(cat "$dir/pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && grep -qF -- "$dir" "/proc/$pid/cmdline" 2>/dev/null
}

# launch COMMAND...: starts the server detached, without our lock and terminal.
launch() {
  setsid "$@" >>"$dir/log" 2>&1 </dev/null 9>&- &
  echo $! >"$dir/pid"
}

# wait_until SECONDS COMMAND...: polls until the command succeeds; dies with the log's end.
wait_until() {
  local limit=$1
  shift
  for ((tick = 0; tick < limit * 10; tick++)); do
    if "$@" >/dev/null 2>&1; then return; fi
    if ! running; then
      tail -n 30 "$dir/log" >&2
      rm -f "$dir/pid" "$dir/env"
      die "the server ended while starting; see $dir/log"
    fi
    sleep 0.1
  done
  tail -n 30 "$dir/log" >&2
  halt
  die "the server was not ready within $limit s; see $dir/log"
}

# halt: ends the server, with force after 20 s.
halt() {
  if running; then
    local pid
    pid=$(cat "$dir/pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 200); do
      running || break
      sleep 0.1
    done
    running && kill -9 "$pid" 2>/dev/null
    while running; do sleep 0.1; done
  fi
  rm -f "$dir/pid" "$dir/env"
}

# watch_idle SECONDS: in the background, stops the server once nobody has held a shared lock on
# `in-use` for that long. A process that ends, however it ends, lets go of its lock.
watch_idle() {
  setsid bash -c '
    dir=$1 idle=$2 stop=$3 pid=$(cat "$1/pid") unused=0
    ours() { [ "$(cat "$dir/pid" 2>/dev/null)" = "$pid" ]; }
    while ours && [ "$unused" -lt "$idle" ]; do
      sleep 5
      if flock -n -x "$dir/in-use" true; then unused=$((unused + 5)); else unused=0; fi
    done
    ! ours || "$stop" stop --dir "$dir"
  ' idle-watch "$dir" "$1" "$script" >/dev/null 2>&1 </dev/null 9>&- &
}

stop_locked() {
  halt
  if [ -n "$wipe" ]; then rm -rf "$dir/data" "$dir/ports" "$dir/log"; fi
}

# main NAME: reads the command line and runs `fetch_locked`, `start_locked` or `stop_locked`.
main() {
  local verb=${1:-help}
  [ $# -eq 0 ] || shift
  dir=$cache/$tool/shared port_wanted="" wipe="" idle="" bucket=millrace-test
  while [ $# -gt 0 ]; do
    case $1 in
      --dir) dir=$2; shift 2 ;;
      --port) port_wanted=$2; shift 2 ;;
      --bucket) bucket=$2; shift 2 ;;
      --idle-stop) idle=$2; shift 2 ;;
      --wipe) wipe=yes; shift ;;
      *) die "unknown argument \`$1\`; see the top of $script" ;;
    esac
  done
  case $verb in
    fetch) with_lock "$cache/$tool/fetch.lock" fetch_locked ;;
    start)
      with_lock "$cache/$tool/fetch.lock" fetch_locked
      mkdir -p "$dir"
      dir=$(cd "$dir" && pwd)
      touch "$dir/in-use"
      with_lock "$dir/lock" start_locked
      cat "$dir/env"
      ;;
    stop)
      [ -d "$dir" ] || exit 0
      dir=$(cd "$dir" && pwd)
      with_lock "$dir/lock" stop_locked
      ;;
    *) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$script"; [ "$verb" = help ] ;;
  esac
}
