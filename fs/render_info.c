/* PID/info: `key value` lines. */
#include "fs/render.h"

#include <inttypes.h>
#include <string.h>

#include "symsrc/source.h"

/* at_ns 0: never. */
static void line_age(struct buf *out, const char *key, const struct render_when *when,
		     uint64_t at_ns)
{
	buf_printf(out, "%s ", key);
	if (at_ns == 0) {
		buf_append_str(out, "-\n");
		return;
	}
	render_seconds(out, when->now_ns > at_ns ? when->now_ns - at_ns : 0);
	buf_append_char(out, '\n');
}

static const char *state_name(enum symsrc_state state)
{
	switch (state) {
	case SYMSRC_WAITING: return "waiting";
	case SYMSRC_READY: return "ready";
	case SYMSRC_FAILED: return "failed";
	case SYMSRC_GONE: return "gone";
	}
	return "unknown";
}

static void guest_lines(const struct guest_entry *e, const struct render_when *when,
			struct buf *out)
{
	const struct guest *g = e->guest;

	render_line(out, "name", g->name);
	render_line_u64(out, "pid", (uint64_t)g->pid);
	render_line(out, "uuid", g->uuid);
	render_line(out, "vmm", g->vmm);
	render_line(out, "accelerator", guest_accel_name(g->accel));
	if (g->memory_bytes)
		render_line_u64(out, "memory", g->memory_bytes);
	else
		render_line(out, "memory", "");
	render_line(out, "state", g->state);
	if (g->vcpu_count)
		render_line_u64(out, "vcpus", g->vcpu_count);
	else
		render_line(out, "vcpus", "");
	render_line_u64(out, "epoch", e->epoch);
	render_line(out, "epoch_reason", e->epoch_reason);
	line_age(out, "epoch_age", when, e->epoch_start_ns);
}

/* /proc/modules has a line for each. */
static uint64_t count_modules(const struct symbols *s)
{
	const char *at, *end;
	uint64_t n = 0;

	if (!s || !s->modules)
		return 0;
	end = s->modules->data + s->modules->size;
	for (at = s->modules->data; (at = memchr(at, '\n', (size_t)(end - at))); at++)
		n++;
	return n;
}

static void symbol_lines(const struct symbols *s, struct buf *out)
{
	char hex[BUILD_ID_HEX_SIZE] = "";

	if (s && s->kernel_id.len)
		build_id_to_hex(&s->kernel_id, hex);
	render_line(out, "kernel", s ? s->release : "");
	render_line(out, "build_id", hex);
	render_line_u64(out, "symbols", s ? symtab_count(s->table) : 0);
	render_line_u64(out, "modules", count_modules(s));
}

static void next_try_line(const struct symsrc_status *st, const struct render_when *when,
			  struct buf *out)
{
	buf_append_str(out, "source_next_try ");
	if (st->next_try_ns == 0) {
		buf_append_str(out, "-\n");
		return;
	}
	buf_append_str(out, "in ");
	render_seconds(out, st->next_try_ns > when->now_ns ? st->next_try_ns - when->now_ns : 0);
	buf_append_char(out, '\n');
}

/* Both may quote what the guest says: cleaned when they were made. */
static void source_words(const struct symsrc_status *st, const struct symbols *s, struct buf *out)
{
	const char *note = s && s->note[0] ? s->note : "-";

	if (st->misfit)
		note = "hardly any sample has a name: these seem to be the symbols of another boot "
		       "or kernel";
	buf_printf(out, "source_how %s\n", s && s->how[0] ? s->how : "-");
	buf_printf(out, "source_note %s\n", note);
}

/* Both texts are clean, too. */
static void attempt_lines(const struct source_attempts *tried, struct buf *out)
{
	for (size_t i = 0; i < tried->count; i++) {
		const struct source_attempt *a = &tried->list[i];

		buf_printf(out, "attempt %s %s", a->way, a->why.code ? "failed after " : "ok ");
		render_seconds(out, a->took_ns);
		buf_printf(out, "%s%s\n", a->why.code ? ": " : "", a->why.text);
	}
}

static void source_lines(const struct symsrc_status *st, const struct symbols *s,
			 const struct render_when *when, struct buf *out)
{
	/* None at all is no URI of the user's: source_error says why. */
	render_line(out, "source", source_is_none(st->source_uri) ? "" : st->source_uri);
	render_line(out, "source_used", st->used);
	source_words(st, s, out);
	render_line(out, "source_state", state_name(st->state));
	/* Clean already; escaping it again would double its backslashes. */
	buf_printf(out, "source_error %s\n", st->error.code ? st->error.text : "-");
	render_line_u64(out, "source_attempts", st->attempts);
	render_line_u64(out, "source_looks", st->looks);
	next_try_line(st, when, out);
	line_age(out, "source_age", when, st->fetched_ns);
	attempt_lines(&st->tried, out);
}

/* Only where they are asked for. */
static void modules_lines(const struct symsrc_status *st, struct buf *out)
{
	if (!st->modules_wanted)
		return;
	render_line(out, "lib_modules", st->modules_used);
	render_line(out, "lib_modules_state",
		    st->modules_listed	     ? "ready"
		    : st->modules_error.code ? "failed"
					     : "waiting");
	render_line_u64(out, "lib_modules_files", st->modules_files);
	buf_printf(out, "lib_modules_error %s\n",
		   st->modules_error.code ? st->modules_error.text : "-");
}

int render_info(const struct guest_entry *entry, const struct symsrc_status *status,
		const struct symbols *symbols, bool paused, const struct render_when *when,
		struct buf *out)
{
	guest_lines(entry, when, out);
	render_line(out, "paused", paused ? "yes" : "no");
	symbol_lines(symbols, out);
	source_lines(status, symbols, when, out);
	modules_lines(status, out);
	return out->err;
}
