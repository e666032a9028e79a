# SPDX-License-Identifier: Apache-2.0
"""The lab runs whichever version of control groups the machine has: as the machine has them, and version 2 alone."""
import subprocess
import sys

import pytest

from leftovers import sights, wait_nothing_left

RUN_A_POD = """
from crossing import Crossing
with Crossing("e2e-groups", cluster_count=1) as crossing:
    crossing.up()
    cluster = crossing.clusters[0]
    cluster.apply('''
apiVersion: v1
kind: Pod
metadata: {name: limited, namespace: default}
spec:
  containers:
  - name: main
    image: curlimages/curl
    command: [/bin/sleep, infinity]
    resources: {requests: {cpu: 100m}, limits: {cpu: 500m, memory: 64Mi}}
''')
    cluster.kubectl("wait", "pod/limited", "--for=condition=Ready", "--timeout=20s", timeout=30)
    print(cluster.exec("default", "limited", "main", "cat", "/proc/self/cgroup").stdout)
"""

MOUNTS = {
    "as the machine has them": "true",
    "version 2 alone": "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup",
}


@pytest.mark.parametrize("groups", MOUNTS)
def test_a_pod_with_limits_runs(groups):
    before = sights("e2e-groups")
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-ec", MOUNTS[groups] + '; exec "$@"', "sh",
                           sys.executable, "-c", RUN_A_POD], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    wait_nothing_left("e2e-groups", before)
