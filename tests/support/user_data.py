#!/usr/bin/python3
"""The script that an instance of a template boots with.  usage: user_data.py TEMPLATE LAUNCH-TEMPLATE NAME=VALUE...

NAME=VALUE stand in the place of what the template refers to.
"""
import re
import sys

import policies

values = dict(pair.split("=", 1) for pair in sys.argv[3:])
text = policies.user_data(policies.template(sys.argv[1]), sys.argv[2])
print(re.sub(r"\$\{([^!}]+)\}", lambda m: values[m.group(1)], text).replace("${!", "${"))
