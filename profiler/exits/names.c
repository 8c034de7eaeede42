#include "profiler/exits/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <event-parse.h>
#include <trace-seq.h>

#include "symsrc/base/lock.h"

#define RECORD_MAX 512 /* bytes of a made-up event; kvm_exit has 72 */

struct exits_names {
	struct mutex lock;
	struct tep_handle *tep; /* lock: it remembers which event was found last */
};

struct exits_names *exits_names_create(void)
{
	struct exits_names *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	tep_set_loglevel(TEP_LOG_NONE);
	n->tep = tep_alloc();
	if (!n->tep) {
		free(n);
		return NULL;
	}
	mutex_init(&n->lock);
	return n;
}

void exits_names_destroy(struct exits_names *n)
{
	if (!n)
		return;
	tep_free(n->tep);
	mutex_deinit(&n->lock);
	free(n);
}

int exits_names_add(struct exits_names *n, const char *system, const char *format, size_t len)
{
	enum tep_errno r;

	mutex_lock(&n->lock);
	r = tep_parse_event(n->tep, format, len, system);
	mutex_unlock(&n->lock);
	return r == TEP_ERRNO__MEM_ALLOC_FAILED ? -ENOMEM : 0;
}

static const struct tep_format_field *with_lock__find_field(struct exits_names *n,
							    const char *system, const char *event,
							    const char *field)
{
	struct tep_event *e = tep_find_event_by_name(n->tep, system, event);

	return e ? tep_find_field(e, field) : NULL;
}

struct exits_field exits_names_field(struct exits_names *n, const char *system, const char *event,
				     const char *field)
{
	struct exits_field none = {.offset = -1};
	const struct tep_format_field *f;

	mutex_lock(&n->lock);
	f = with_lock__find_field(n, system, event, field);
	mutex_unlock(&n->lock);
	if (!f || f->offset < 0 || (f->size != 1 && f->size != 2 && f->size != 4 && f->size != 8))
		return none;
	return (struct exits_field){.offset = f->offset, .size = (uint32_t)f->size};
}

/* f may be NULL. */
static int put(const struct tep_format_field *f, uint64_t value, unsigned char *record)
{
	size_t size = f && f->size > 0 && f->size <= 8 ? (size_t)f->size : 0;
	const unsigned char *from = (const unsigned char *)&value;

	if (!size || f->offset < 0 || (size_t)f->offset + size > RECORD_MAX)
		return -ENOENT;
	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
		from += 8 - size;
	memcpy(record + f->offset, from, size);
	return 0;
}

/* s: the event as a line. */
static size_t cut(const char *s, const char *after, const char *before, char *ret, size_t size)
{
	const char *start = strstr(s, after);
	const char *end;
	size_t n;

	if (!start)
		return 0;
	start += strlen(after);
	end = *before ? strstr(start, before) : start + strlen(start);
	if (!end)
		return 0;
	n = (size_t)(end - start);
	if (n == 0 || n >= size)
		return 0;
	memcpy(ret, start, n);
	ret[n] = '\0';
	return n;
}

static size_t with_lock__print(struct exits_names *n, const char *system, const char *event,
			       const struct exits_value *values, size_t count,
			       struct trace_seq *seq)
{
	struct tep_event *e = tep_find_event_by_name(n->tep, system, event);
	unsigned char bytes[RECORD_MAX] = {0};
	struct tep_record record = {.data = bytes, .size = sizeof(bytes)};

	if (!e || (e->flags & TEP_EVENT_FL_FAILED))
		return 0;
	/* libtraceevent tells by the number in the record what event it is. */
	if (put(tep_find_common_field(e, "common_type"), (uint64_t)e->id, bytes) < 0)
		return 0;
	for (size_t i = 0; i < count; i++) {
		if (put(tep_find_field(e, values[i].field), values[i].value, bytes) < 0)
			return 0;
	}
	tep_print_event(n->tep, seq, &record, "%s", TEP_PRINT_INFO);
	trace_seq_terminate(seq);
	return seq->len;
}

size_t exits_names_print(struct exits_names *n, const char *system, const char *event,
			 const struct exits_value *values, size_t count, const char *after,
			 const char *before, char *ret, size_t size)
{
	struct trace_seq seq;
	size_t len;

	trace_seq_init(&seq);
	mutex_lock(&n->lock);
	len = with_lock__print(n, system, event, values, count, &seq);
	mutex_unlock(&n->lock);
	if (len)
		len = cut(seq.buffer, after, before, ret, size);
	trace_seq_destroy(&seq);
	return len;
}
