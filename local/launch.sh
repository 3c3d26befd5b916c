# Runs a program of the stack with its own variables and no other secret: sh local/launch.sh NAME COMMAND ...
set -a
. "$STACK_HOME/environments/$1"
set +a
shift
exec "$@"
