#!/bin/bash
# Senders that trickle, flood or talk nonsense do not keep others from a running tapbox.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_tapbox_config
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
lab_exec capture "$cases_root/tests/support/slow_senders.py" "$LAB_ANALYST_TOKEN" || cases_failed=1
lab_alive "$lab_tapbox_pid" && lab_tapbox_stop
same 'tapbox has lived through it and ends well' 0 $?
finish
