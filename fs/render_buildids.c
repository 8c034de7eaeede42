/* PID/buildids: rows as `perf buildid-list` prints them, objects as in `profile`. */
#include "fs/render.h"

#include <stdio.h>

#include "profiler/perfdata/recording.h"

static size_t row(const struct build_id *id, const char *object, struct buf *out)
{
	char hex[BUILD_ID_HEX_SIZE];

	if (id->len == 0)
		return 0;
	build_id_to_hex(id, hex);
	buf_printf(out, "%s %s\n", hex, object);
	return 1;
}

int render_buildids(const struct symbols *s, struct buf *out)
{
	size_t rows = row(&s->kernel_id, PROFILE_OBJECT_KERNEL, out);

	for (size_t i = 0; i < s->module_count; i++) {
		char object[MODULE_NAME_MAX + 2];

		snprintf(object, sizeof(object), "[%.*s]", MODULE_NAME_MAX - 1,
			 s->module_list[i].name);
		rows += row(&s->module_list[i].id, object, out);
	}
	if (rows == 0)
		buf_append_str(out, "# no build-ids: the symbol source has no ELF notes\n");
	return out->err;
}

bool render_recorded_buildids(const struct recording_guest *g, struct buf *out)
{
	for (size_t i = 0; i < g->build_id_count; i++) {
		char hex[BUILD_ID_HEX_SIZE];

		build_id_to_hex(&g->build_ids[i].id, hex);
		buf_printf(out, "%s ", hex);
		render_word(out, g->build_ids[i].name);
		buf_append_char(out, '\n');
	}
	return g->build_id_count > 0;
}
