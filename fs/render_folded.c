/* PID/profile.folded: a stack a line, frames between semicolons, a blank, a count
 * (FlameGraph's README.md, "2. Fold stacks"). Readers split at the last blank, and take a line
 * whose rest ends with a number for a comparison, so that no frame may hold a blank. */
#include "fs/render.h"

#include <inttypes.h>

static const struct render_quote frame_quotes[] = {{';', "\\x3b"}, {' ', "\\x20"}, {0}};

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
