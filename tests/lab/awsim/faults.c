/* Rules in order; counts, a generator and a plan.  Reading them is fault_rule.c. */
#include "faults.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "describe.h"
#include "fault_rule.h"

struct faults {
    pthread_mutex_t mu; /* guards all of this */
    pthread_cond_t stopping;
    bool stopped;
    struct fault_rule *rules;
    size_t n;
};

struct faults *
faults_new(void)
{
    struct faults *f = xalloc(sizeof(*f));
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&f->mu, NULL);
    pthread_cond_init(&f->stopping, &attributes);
    pthread_condattr_destroy(&attributes);
    return f;
}

void
faults_free(struct faults *f)
{
    fault_rules_free(f->rules, f->n);
    pthread_cond_destroy(&f->stopping);
    pthread_mutex_destroy(&f->mu);
    free(f);
}

/* SplitMix64: small, and the same sequence for the same seed everywhere. */
static uint64_t
draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static bool
fits(const struct fault_rule *r, const struct fault_question *q)
{
    if (strcmp(r->service, q->service) != 0 || !wildcard_match(r->action, q->action) ||
        (r->account[0] != '\0' && strcmp(r->account, q->account) != 0)) {
        return false;
    }
    for (size_t i = 0; i < r->nmatch; i++) {
        const char *value = q->query == NULL ? NULL : query_raw(q->query, r->match[i].name);
        if (value == NULL || strcmp(value, r->match[i].value) != 0) {
            return false;
        }
    }
    return true;
}

static int64_t
from_range(const struct fault_range *range, uint64_t random)
{
    return range->min_ns + (int64_t)(random % ((uint64_t)(range->max_ns - range->min_ns) + 1));
}

/* The first rule that ends a stage decides how. */
static void
end_stage(struct fault_stage *s, enum fault fault, const struct refusal *why)
{
    if (s->fault == FAULT_NONE) {
        s->fault = fault;
        if (fault == FAULT_ERROR) {
            s->why = *why;
        }
    }
}

static void
apply(const struct fault_rule *r, uint64_t random, struct fault_plan *p)
{
    struct fault_stage *error_stage = r->error_after ? &p->after : &p->before;
    p->before.sleep_ns += from_range(&r->latency, random);
    p->after.sleep_ns += from_range(&r->latency_after, random);
    error_stage->sleep_ns += r->hang_ns;
    if (r->error.status != 0) {
        end_stage(error_stage, FAULT_ERROR, &r->error);
    }
    if (r->hang_ns > 0) {
        end_stage(error_stage, FAULT_LOSE, NULL);
    }
    if (r->lose_before) {
        end_stage(&p->before, FAULT_LOSE, NULL);
    }
    if (r->lose_after) {
        end_stage(&p->after, FAULT_LOSE, NULL);
    }
    p->expired = p->expired || r->expired;
    if (r->visible_after_ns > p->visible_after_ns) {
        p->visible_after_ns = r->visible_after_ns;
        p->delete_sees = r->delete_sees;
        p->use_sees = r->use_sees;
    }
    if (r->gone_after_ns > p->gone_after_ns) {
        p->gone_after_ns = r->gone_after_ns;
    }
    if (r->tags_after_ns > p->tags_after_ns) {
        p->tags_after_ns = r->tags_after_ns;
    }
    if (r->changed_after_ns > p->changed_after_ns) {
        p->changed_after_ns = r->changed_after_ns;
    }
}

void
faults_plan(struct faults *f, const struct fault_question *q, struct fault_plan *out)
{
    memset(out, 0, sizeof(*out));
    pthread_mutex_lock(&f->mu);
    for (size_t i = 0; i < f->n; i++) {
        struct fault_rule *r = &f->rules[i];
        if (!fits(r, q)) {
            continue;
        }
        r->matched++;
        /* two numbers for every request that fits, needed or not: the order alone decides */
        double chance = (double)(draw(&r->generator) >> 11) * 0x1p-53;
        uint64_t random = draw(&r->generator);
        if (r->matched >= r->from && r->matched <= r->to && chance < r->probability) {
            r->hits++;
            apply(r, random, out);
        }
    }
    pthread_mutex_unlock(&f->mu);
}

enum fault
faults_pass(struct faults *f, const struct fault_stage *stage)
{
    if (stage->sleep_ns > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += stage->sleep_ns / 1000000000;
        until.tv_nsec += stage->sleep_ns % 1000000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&f->mu);
        while (!f->stopped && pthread_cond_timedwait(&f->stopping, &f->mu, &until) == 0) {
            continue;
        }
        pthread_mutex_unlock(&f->mu);
    }
    return stage->fault;
}

void
faults_stop(struct faults *f)
{
    pthread_mutex_lock(&f->mu);
    f->stopped = true;
    pthread_cond_broadcast(&f->stopping);
    pthread_mutex_unlock(&f->mu);
}

bool
faults_replace(struct faults *f, json_t *list, char *why, size_t why_size)
{
    struct fault_rule *rules;
    size_t n;
    if (!fault_rules_read(list, &rules, &n, why, why_size)) {
        return false;
    }
    pthread_mutex_lock(&f->mu);
    struct fault_rule *old = f->rules;
    size_t old_n = f->n;
    f->rules = rules;
    f->n = n;
    pthread_mutex_unlock(&f->mu);
    fault_rules_free(old, old_n);
    return true;
}

json_t *
faults_json(struct faults *f)
{
    json_t *list = json_array();
    pthread_mutex_lock(&f->mu);
    for (size_t i = 0; i < f->n; i++) {
        json_t *j = json_deep_copy(f->rules[i].source);
        json_object_set_new(j, "matched", json_integer((json_int_t)f->rules[i].matched));
        json_object_set_new(j, "hits", json_integer((json_int_t)f->rules[i].hits));
        json_array_append_new(list, j);
    }
    pthread_mutex_unlock(&f->mu);
    return list;
}
