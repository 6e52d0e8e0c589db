/*
 * What EC2 knows of the sources a request names.  Interfaces and instances are asked for at the
 * same time: each tells what the other does not (an interface its own tags, an instance its
 * state and tags), and arming has time for one round trip here.
 */
#include "control_int.h"

#include <stdlib.h>

enum {
    TOGETHER_MOST = 16
};

static void *
run_task(void *arg)
{
    const struct control_task *task = arg;

    task->run(task->arg);
    return NULL;
}

void
control_together(struct control_task *tasks, size_t count)
{
    pthread_t threads[TOGETHER_MOST];
    bool started[TOGETHER_MOST] = {false};

    for (size_t i = 1; i < count && i < TOGETHER_MOST; i++) {
        started[i] =
            tb_thread_start(&threads[i], "control look", run_task, &tasks[i], NULL) == TB_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (i >= TOGETHER_MOST || !started[i]) {
            tasks[i].run(tasks[i].arg); /* the first, and those that got no thread */
        }
    }
    for (size_t i = 1; i < count && i < TOGETHER_MOST; i++) {
        if (started[i]) {
            (void)pthread_join(threads[i], NULL);
        }
    }
}

struct look {
    struct tb_aws *aws;
    const struct tb_capture_request *request;
    const char *enis[TB_CAPTURE_MAX_SOURCES];
    struct control_found found;
    enum tb_err interfaces_err, instances_err;
    struct tb_fail interfaces_fail, instances_fail;
};

static void
look_at_interfaces(void *arg)
{
    struct look *look = arg;

    look->interfaces_err =
        look->request->eni_count > 0
            ? tb_ec2_interfaces_by_id(look->aws, look->enis, look->request->eni_count,
                                      &look->found.interfaces, &look->interfaces_fail)
            : tb_ec2_interfaces_of_instance(look->aws, look->request->instance,
                                            &look->found.interfaces, &look->interfaces_fail);
}

static void
look_at_instances(void *arg)
{
    struct look *look = arg;
    struct tb_ec2_instances *out = &look->found.instances;

    if (look->request->eni_count > 0) {
        look->instances_err = tb_ec2_instances_of_interfaces(
            look->aws, look->enis, look->request->eni_count, out, &look->instances_fail);
        return;
    }
    out->at = calloc(1, sizeof(*out->at));
    if (out->at == NULL) {
        look->instances_err =
            tb_fail_set(&look->instances_fail, TB_ENOMEM, "no memory for an instance");
        return;
    }
    look->instances_err = tb_ec2_instance_get(look->aws, look->request->instance, &out->at[0],
                                              &look->instances_fail);
    out->count = look->instances_err == TB_OK ? 1 : 0;
}

/* An interface attached just now may be told by its instance before it is found by that. */
static enum tb_err
ask_again_by_id(struct look *look, struct tb_fail *fail)
{
    const struct tb_ec2_interfaces *known = &look->found.instances.at[0].interfaces;
    const char *ids[TB_CAPTURE_MAX_SOURCES];
    size_t count = 0;

    for (; count < known->count && count < TB_CAPTURE_MAX_SOURCES; count++) {
        ids[count] = known->at[count].eni;
    }
    return count == 0
               ? TB_OK
               : tb_ec2_interfaces_by_id(look->aws, ids, count, &look->found.interfaces, fail);
}

void
control_keep_primary(struct tb_ec2_interfaces *list)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        if (list->at[i].device_index == 0) {
            struct tb_ec2_interface primary = list->at[i];

            list->at[i] = list->at[kept];
            list->at[kept++] = primary;
        }
    }
    for (size_t i = kept; i < list->count; i++) {
        free(list->at[i].tags.at);
    }
    list->count = kept;
}

enum tb_err
control_describe(struct control_account *account, const struct tb_capture_request *request,
                 struct control_found *out, struct tb_fail *fail)
{
    struct look look = {.aws = account->aws, .request = request};
    struct control_task tasks[] = {{look_at_interfaces, &look}, {look_at_instances, &look}};
    enum tb_err err;

    for (size_t i = 0; i < request->eni_count; i++) {
        look.enis[i] = request->enis[i];
    }
    control_together(tasks, 2);
    err = look.interfaces_err;
    if (err == TB_OK) {
        err = look.instances_err;
        *fail = look.instances_fail;
    } else {
        *fail = look.interfaces_fail;
    }
    if (err == TB_OK && request->eni_count == 0 && look.found.interfaces.count == 0) {
        err = ask_again_by_id(&look, fail);
    }
    if (err == TB_OK && request->primary_only && !request->undecided &&
        request->eni_count == 0) {
        control_keep_primary(&look.found.interfaces);
    }
    if (err == TB_OK) {
        *out = look.found;
    } else {
        control_found_release(&look.found);
    }
    return err;
}

void
control_found_release(struct control_found *found)
{
    tb_ec2_interfaces_release(&found->interfaces);
    tb_ec2_instances_release(&found->instances);
}
