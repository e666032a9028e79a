// SPDX-License-Identifier: Apache-2.0
//
// exec: the node's side of lab/runtime: programs in running containers, streamed both ways.
#ifndef LAB_NODE_EXEC_H
#define LAB_NODE_EXEC_H

#include "lab/runtime/runtime.h"

struct node;

// owner of its functions is the node, which outlives every process.
struct runtime exec_runtime(struct node *node);

#endif
