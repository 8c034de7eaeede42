/* One answer of qemu-guest-agent, read as it arrives: a line that holds one JSON object.
 *
 * Answers that carry a file are long, and most of it is one string of base64. That string is
 * decoded on its way and never held; the rest of the line, with an empty string in its place, is
 * short, and json-c reads it at the end. Pure; the bytes come from a stranger.
 */
#ifndef KVMPROFS_AGENT_ANSWER_H
#define KVMPROFS_AGENT_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "symsrc/agent_base64.h"
#include "symsrc/base/buf.h"
#include "symsrc/base/errmsg.h"

#define AGENT_TEXT_MAX	(256u << 10) /* of an answer without its base64; guest-info has 10 KiB */
#define AGENT_DEPTH_MAX 16
#define AGENT_KEY_MAX	16

struct json_object;

enum agent_data {
	AGENT_DATA_NONE,
	AGENT_DATA_OUT, /* "buf-b64" of guest-file-read, "out-data" of guest-exec-status */
	AGENT_DATA_ERR	/* "err-data" */
};

/* Takes decoded bytes (n > 0). A negative return ends the reading with that error; the callee
 * keeps its own explanation. */
typedef int agent_data_fn(void *ctx, enum agent_data which, const void *bytes, size_t n);

enum agent_state { AGENT_OUTSIDE, AGENT_STRING, AGENT_ESCAPE, AGENT_BASE64, AGENT_BASE64_ESCAPE };

struct agent_answer {
	agent_data_fn *data;
	void *ctx;
	bool done; /* the newline was seen */
	struct buf text;
	enum agent_state state;
	char key[AGENT_KEY_MAX]; /* the last string that ended, or as much of it as fits */
	size_t key_len;
	enum { AGENT_KEY_NO, AGENT_KEY_ENDED, AGENT_KEY_COLON } after_key;
	enum agent_data which;
	struct agent_base64 base64;
};

/* data NULL: base64 is kept in the text like anything else. */
void agent_answer_init(struct agent_answer *a, agent_data_fn *data, void *ctx);
void agent_answer_deinit(struct agent_answer *a);

/* Takes bytes up to and with the end of the line and returns how many. -EBADMSG for what is no
 * answer, -EFBIG, -ENOMEM, or what data() returned, with why left alone. */
ptrdiff_t agent_answer_feed(struct agent_answer *a, const char *bytes, size_t n,
			    struct errmsg *why);

/* Once it is done: 0 and what "return" holds, to be put by the caller; or -EREMOTEIO with the
 * agent's description in why; -EBADMSG for neither. */
int agent_answer_result(const struct agent_answer *a, struct json_object **ret, struct errmsg *why);

#endif
