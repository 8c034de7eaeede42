/* PID/profile.folded: a stack a line, frames between semicolons, a blank, a count
 * (FlameGraph's README.md, "2. Fold stacks"). Readers split at the last blank, and take a line
 * whose rest ends with a number for a comparison (flamegraph.pl; inferno's
 * src/flamegraph/merge.rs), so that no frame may hold a blank. Older flamegraph.pl, as Debian's,
 * makes a string of a script of each name and lets a backslash before a quote end it: none may hold
 * a quote either, or what a guest calls a function runs in a browser of the host. */
#include "fs/render.h"

#include <inttypes.h>

static const struct render_quote frame_quotes[] = {
	{';', "\\x3b"}, {' ', "\\x20"}, {'\'', "\\x27"}, {0}};

static void frame(struct buf *out, const char *text)
{
	render_quoted(out, text[0] ? text : "-", frame_quotes);
}

int render_folded(const struct guest *guest, const struct profile *profile, struct buf *out)
{
	for (size_t i = 0; i < profile->row_count && !out->err; i++) {
		const struct profile_row *r = &profile->rows[i];

		frame(out, guest->name);
		buf_append_char(out, ';');
		frame(out, r->object);
		buf_append_char(out, ';');
		frame(out, r->symbol);
		buf_printf(out, " %" PRIu64 "\n", r->samples);
	}
	return out->err;
}
