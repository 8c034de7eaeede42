#include "symsrc/memory/knownkernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/findkernel.h"

#define SCANNED_MAX ((uint64_t)1 << 40) /* bytes; the deadline ends it earlier */

struct known_search {
	struct ram *ram;
	const struct known_kernel *known;
	void *room; /* for its notes */
	bool found;
	uint64_t slide;
};

/* Whether the kernel's notes lie where they would if its _text were the image's first byte. */
static bool is_there(const struct known_search *s, const struct kernel_image *image)
{
	const struct known_kernel *k = s->known;
	uint64_t va = k->notes_va + (image->va - k->text);

	return image->va && image_read(s->ram, image, va, s->room, k->notes_len) == 0 &&
	       memcmp(s->room, k->notes, k->notes_len) == 0;
}

static int look(struct known_search *s, const struct kernel_candidate *list, size_t n,
		struct build_id *other)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t slide = list[i].image.va - s->known->text;

		if (is_there(s, &list[i].image)) {
			if (s->found && s->slide != slide)
				return -ENOTUNIQ;
			s->found = true;
			s->slide = slide;
		} else if (list[i].has_info && !other->len) {
			*other = list[i].info.build_id;
		}
	}
	return 0;
}

static int search(struct known_search *s, struct kernel_candidate *list, bool quick,
		  struct build_id *other)
{
	struct ram_sights sights;
	int n = find_by_trampoline(s->ram, list, KERNEL_CANDIDATES_MAX), r = 0;

	if (n >= 0)
		r = look(s, list, (size_t)n, other);
	if (n < 0 || r < 0 || s->found || quick)
		return n < 0 ? n : r;
	n = find_by_scan(s->ram, SCANNED_MAX, list, KERNEL_CANDIDATES_MAX, &sights);
	return n < 0 ? n : look(s, list, (size_t)n, other);
}

int knownkernel_find(struct ram *ram, const struct known_kernel *known, bool quick,
		     uint64_t *ret_slide, struct build_id *other)
{
	struct kernel_candidate *list = calloc(KERNEL_CANDIDATES_MAX, sizeof(*list));
	CLEANUP_FREE void *room = malloc(known->notes_len ? known->notes_len : 1);
	struct known_search s = {.ram = ram, .known = known, .room = room};
	int r = list && room ? search(&s, list, quick, other) : -ENOMEM;

	free(list);
	if (r < 0)
		return r;
	*ret_slide = s.slide;
	return s.found ? 0 : -ENOENT;
}
