// SPDX-License-Identifier: Apache-2.0
//
// list: intrusive doubly linked list. The node lives in its object (container_of finds the object);
// a node is in at most one list, and list_remove() of a node that is in none is a no-op.
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *list) // for heads and for nodes
{
    list->next = list;
    list->prev = list;
}

static inline bool list_is_empty(const struct list *list) // for a node: it is in no list
{
    return list->next == list;
}

static inline void list_insert_before(struct list *at, struct list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

static inline void list_append(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

static inline void list_prepend(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

// Moves all nodes of `from` behind those of head, in their order.
static inline void list_append_all(struct list *head, struct list *from)
{
    if (list_is_empty(from)) {
        return;
    }
    from->next->prev = head->prev;
    head->prev->next = from->next;
    from->prev->next = head;
    head->prev = from->prev;
    list_init(from);
}

static inline struct list *list_first(const struct list *head) // NULL when empty
{
    return head->next == head ? NULL : head->next;
}

// The current node may be removed inside the loop; others may not.
#define list_each(head, node)                                                            \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head); \
         node = node##_next, node##_next = node->next)

#endif
