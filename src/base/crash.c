/* Crash points by name. */
#include <tapbox/crash.h>

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *const acts[] = {
    /* calls of AWS, by action */
    "CreateTrafficMirrorTarget",
    "CreateTrafficMirrorFilter",
    "CreateTrafficMirrorFilterRule",
    "CreateTrafficMirrorSession",
    "ModifyTrafficMirrorFilterNetworkServices",
    "ModifyTrafficMirrorSession",
    "DeleteTrafficMirrorSession",
    "DeleteTrafficMirrorFilter",
    "DeleteTrafficMirrorFilterRule",
    "DeleteTrafficMirrorTarget",
    "CreateTags",
    "DescribeInstances",
    "DescribeNetworkInterfaces",
    "DescribeTrafficMirrorSessions",
    "DescribeTrafficMirrorFilters",
    "DescribeTrafficMirrorTargets",
    "DescribeInstanceTypes",
    "DescribeSecurityGroups",
    "DescribeRouteTables",
    "GetCallerIdentity",
    "AssumeRole",
    "PutObject",
    "HeadObject",
    "CreateMultipartUpload",
    "AbortMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "ListParts",
    "ListMultipartUploads",
    "GetObjectLockConfiguration",
    "GetMetricData",
    "PutMetricData",
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
    /* commits of the store, by function */
    "intake",
    "capture_move",
    "capture_sources",
    "source_touched",
    "capture_deadline",
    "capture_later",
    "capture_error",
    "capture_ask_stop",
    "capture_ledger",
    "capture_admit",
    "capture_decided",
    "capture_ask_extend",
    "capture_withdraw_extend",
    "capture_extended",
    "capture_news_read",
    "capture_filter_made",
    "resource_intend",
    "resource_created",
    "resource_deleting",
    "resource_gone",
    "vni_allocate",
    "segment_add",
    "segment_uploaded",
    "segment_local_gone",
    "upload_begun",
    "upload_part",
    "upload_forget",
    "custody_add",
    "custody_next",
    "custody_signed",
    "custody_uploaded",
    "key_use",
    "key_in_bucket",
    "manifest_make",
    "manifest_signed",
    "summary_put",
    "subscription_put",
    "subscription_drop",
};
enum {
    ACTS = sizeof(acts) / sizeof(acts[0])
};

const char *
tb_crash_act(size_t i)
{
    return i < ACTS ? acts[i] : NULL;
}

/* What the environment asks for; set once. */
static const char *wanted_act; /* NULL: nothing, the usual case */
static enum tb_crash_side wanted_side;
static atomic_int passes_left;

static void
read_environment(void)
{
    static char text[128];
    const char *asked = getenv("TAPBOX_CRASH");
    char *side;
    char *number;

    if (asked == NULL || strlen(asked) >= sizeof(text)) {
        return;
    }
    memcpy(text, asked, strlen(asked) + 1);
    side = strchr(text, ':');
    if (side == NULL) {
        return;
    }
    *side++ = 0;
    number = strchr(side, '#');
    if (number != NULL) {
        *number++ = 0;
    }
    wanted_side = strcmp(side, "after") == 0 ? TB_CRASH_AFTER : TB_CRASH_BEFORE;
    atomic_store(&passes_left, number != NULL ? (int)strtol(number, NULL, 10) : 1);
    wanted_act = text;
}

static bool
is_listed(const char *what)
{
    for (size_t i = 0; i < ACTS; i++) {
        if (strcmp(acts[i], what) == 0) {
            return true;
        }
    }
    return false;
}

void
tb_crash_point(enum tb_crash_side side, const char *what)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, read_environment);
    if (wanted_act == NULL) {
        return;
    }
    assert(is_listed(what));
    if (side == wanted_side && strcmp(what, wanted_act) == 0 &&
        atomic_fetch_sub(&passes_left, 1) == 1) {
        (void)raise(SIGKILL);
    }
}
