"""A Ray cluster of two nodes with one CPU each on this machine, until standard input ends.

    python tests/ray_cluster.py HOME AWAY

The nodes are started in the folders HOME and AWAY. Prints `address: HOST:PORT`; a line on standard input kills the second node,
without a chance to tell anyone.
"""

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False}
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}


def main() -> None:
    home, away = sys.argv[1:]
    os.chdir(home)
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"_system_config": SOON})
    try:
        os.chdir(away)
        second = cluster.add_node(**NODE)
        print(f"address: {cluster.address}", flush=True)
        if sys.stdin.readline():
            cluster.remove_node(second, allow_graceful=False)
            sys.stdin.readline()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
