#include "profiler/traceline.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <traceevent/event-parse.h>
#include <traceevent/trace-seq.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/text.h"

struct traceline {
	struct tep_handle *tep;
	struct trace_seq seq;
};

struct traceline *traceline_create(void)
{
	struct traceline *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	/* What it cannot parse it would tell standard error. */
	tep_set_loglevel(TEP_LOG_NONE);
	t->tep = tep_alloc();
	if (!t->tep) {
		free(t);
		return NULL;
	}
	tep_set_long_size(t->tep, (int)sizeof(long));
	tep_set_page_size(t->tep, (int)sysconf(_SC_PAGESIZE));
	tep_set_file_bigendian(t->tep, __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? TEP_BIG_ENDIAN
									      : TEP_LITTLE_ENDIAN);
	trace_seq_init(&t->seq);
	return t;
}

void traceline_destroy(struct traceline *t)
{
	if (!t)
		return;
	trace_seq_destroy(&t->seq);
	tep_free(t->tep);
	free(t);
}

void traceline_add(struct traceline *t, const char *subsystem, const char *format, size_t n)
{
	tep_parse_event(t->tep, format, n, subsystem);
}

/* The bytes that libtraceevent has written, without control characters. */
static void append_seq(const struct trace_seq *seq, struct buf *out)
{
	char clean[TRACELINE_MAX];
	size_t n = seq->state == TRACE_SEQ__GOOD ? seq->len : 0;

	n = text_clean(clean, sizeof(clean), seq->buffer, n);
	buf_append(out, clean, n);
}

static void append_name(const struct trace_sample *s, const char *comm, struct buf *out)
{
	char name[4 * TRACE_COMM_MAX + 1];

	text_escape(name, sizeof(name), comm, strnlen(comm, TRACE_COMM_MAX));
	buf_printf(out, "%16s-%-7u [%03u] ", name, s->tid, s->cpu);
}

static void append_event(struct traceline *t, struct tep_event *event, struct tep_record *record,
			 struct buf *out)
{
	bool raw = event->flags & TEP_EVENT_FL_FAILED;

	trace_seq_reset(&t->seq);
	tep_print_event(t->tep, &t->seq, record, "%s: %s", TEP_PRINT_NAME,
			raw ? TEP_PRINT_INFO_RAW : TEP_PRINT_INFO);
	append_seq(&t->seq, out);
}

static void append_flags(struct traceline *t, struct tep_record *record, struct buf *out)
{
	trace_seq_reset(&t->seq);
	tep_print_event(t->tep, &t->seq, record, "%s", TEP_PRINT_LATENCY);
	append_seq(&t->seq, out);
}

int traceline_format(struct traceline *t, const struct trace_sample *s, const char *comm,
		     struct buf *out)
{
	struct tep_record record = {.ts = s->time,
				    .cpu = (int)s->cpu,
				    .size = (int)s->size,
				    .record_size = (int)s->size,
				    .data = (void *)s->raw};
	struct tep_event *event;
	uint16_t id = 0;

	/* common_type, the first field of all events (include/linux/trace_events.h, struct
	 * trace_entry). */
	if (s->size >= 8)
		memcpy(&id, s->raw, sizeof(id));
	event = tep_find_event(t->tep, id);
	append_name(s, comm, out);
	if (event)
		append_flags(t, &record, out);
	buf_printf(out, " %5llu.%06llu: ", (unsigned long long)(s->time / NSEC_PER_SEC),
		   (unsigned long long)(s->time % NSEC_PER_SEC / NSEC_PER_USEC));
	if (event)
		append_event(t, event, &record, out);
	else
		buf_printf(out, "event %u: %u bytes", id, s->size);
	return buf_append_char(out, '\n');
}
