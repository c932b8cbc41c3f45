#!/bin/sh
# Counts the words of files with a mapper in PHP and a reducer in awk, on workers of the Redis at REDIS_URL:
#
#   worker-machine dev &
#   export REDIS_URL=redis://127.0.0.1:6399
#   examples/php/run.sh work &
#   examples/php/run.sh '*.md'
set -eu
here=$(dirname "$(realpath "$0")")
command=$1
set -- --map "php '$here/map.php'" --reduce "awk -f '$here/../awk/sum.awk'"
if [ "$command" = work ]; then
	exec "${WORKER_MACHINE:-worker-machine}" work --mapreduce "$@"
fi
exec "${WORKER_MACHINE:-worker-machine}" mapreduce --input "$command" "$@"
