/* Who may begin when there is room, and the queue of those that wait. */
#include "control_int.h"

#include <stdlib.h>

/* planned .. draining: has a place among those that may run at once. */
static bool
has_a_place(enum tb_capture_state state)
{
    return state == TB_CAPTURE_PLANNED || tb_capture_state_is_live(state);
}

static bool
waits_for_a_place(const struct tb_due *due)
{
    return due->state == TB_CAPTURE_REQUESTED && !due->stop_asked;
}

/* A request that names no account is about our own, as is one that names it. */
static bool
is_same_account(const char *own, const char *a, const char *b)
{
    return strcmp(a[0] != 0 ? a : own, b[0] != 0 ? b : own) == 0;
}

bool
control_has_to_queue(const struct tb_config *config, const char *own_account,
                     const struct tb_due *due, size_t count, const struct tb_due *one)
{
    size_t places = 0, places_of_account = 0;

    if (!waits_for_a_place(one)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (has_a_place(due[i].state)) {
            places++;
            places_of_account +=
                is_same_account(own_account, due[i].account, one->account) ? 1 : 0;
        }
    }
    return places >= config->max_concurrent ||
           (config->max_per_account != 0 && places_of_account >= config->max_per_account);
}

bool
control_goes_before(const struct tb_due *a, const struct tb_due *b)
{
    if (waits_for_a_place(a) != waits_for_a_place(b)) {
        return waits_for_a_place(b);
    }
    if (waits_for_a_place(a) && a->priority != b->priority) {
        return a->priority > b->priority;
    }
    return waits_for_a_place(a) && a->severity > b->severity;
}

/* Lists are by due time, so what is equally severe stays in that order. */
static int
by_turn(const void *left, const void *right)
{
    const struct tb_due *a = *(const struct tb_due *const *)left;
    const struct tb_due *b = *(const struct tb_due *const *)right;

    if (control_goes_before(a, b) != control_goes_before(b, a)) {
        return control_goes_before(a, b) ? -1 : 1;
    }
    return a < b ? -1 : 1; /* the list's own order */
}

enum tb_err
tb_control_queue(struct tb_control *control, struct tb_control_queue *out, struct tb_fail *fail)
{
    struct tb_control_queue queue = {NULL, 0};
    const struct tb_due **waiting = NULL;
    struct control_self self;
    struct tb_due *due = NULL;
    size_t count = 0;
    enum tb_err err = tb_store_due_list(control->deps.store, &due, &count, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_mutex_lock(&control->mu);
    self = control->locked.self;
    tb_mutex_unlock(&control->mu);
    queue.ids = calloc(count + 1, sizeof(*queue.ids));
    waiting = calloc(count + 1, sizeof(const struct tb_due *));
    if (queue.ids == NULL || waiting == NULL) {
        free(queue.ids);
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for the queue");
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        if (control_has_to_queue(control->deps.config, self.account, due, count, &due[i])) {
            waiting[queue.count++] = &due[i];
        }
    }
    qsort(waiting, queue.count, sizeof(*waiting), by_turn);
    for (size_t i = 0; i < queue.count; i++) {
        memcpy(queue.ids[i], waiting[i]->id, TB_CAPTURE_ID_SIZE);
    }
    *out = queue;

out:
    free(waiting);
    free(due);
    return err;
}

int
tb_control_queue_position(struct tb_control *control, const char *capture_id)
{
    struct tb_control_queue queue = {NULL, 0};
    int position = -1;

    if (tb_control_queue(control, &queue, NULL) != TB_OK) {
        return -1;
    }
    for (size_t i = 0; i < queue.count && position < 0; i++) {
        position = strcmp(queue.ids[i], capture_id) == 0 ? (int)i : -1;
    }
    free(queue.ids);
    return position;
}
