/* Names we give: capture ids, client tokens, request ids; and syntax checks of AWS's names. */
#ifndef TAPBOX_IDS_H
#define TAPBOX_IDS_H

#include <stdbool.h>

#include <tapbox/err.h>
#include <tapbox/limits.h>

/* "cap-20260102T030405Z-1a2b3c4d": sorts by time, 32 random bits. */
TB_NODISCARD enum tb_err tb_capture_id_new(char out[TB_CAPTURE_ID_SIZE], int64_t utc_s);
bool tb_capture_id_valid(const char *text);
/* "log-20260102T030405Z-1a2b3c4d": a host's custody log. */
TB_NODISCARD enum tb_err tb_log_id_new(char out[TB_CAPTURE_ID_SIZE], int64_t utc_s);
bool tb_log_id_valid(const char *text);
/* An RFC 9562 version 4 UUID, 36 characters and the NUL. */
TB_NODISCARD enum tb_err tb_uuid_new(char out[37]);
/* `prefix` ("i-", "eni-") and 8 or 17 lower-case hex digits. */
bool tb_aws_id_valid(const char *text, const char *prefix);
/* 12 digits */
bool tb_account_valid(const char *text);

#endif
