#include "profiler/ringmap.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

static bool map_pages(struct ringmap *m, int fd, size_t pages)
{
	size_t size = (pages + 1) * (size_t)sysconf(_SC_PAGESIZE);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return false;
	*m = (struct ringmap){.map = map, .size = size};
	return true;
}

int ringmap_open(struct ringmap *m, int fd, size_t bytes)
{
	size_t pages = bytes / (size_t)sysconf(_SC_PAGESIZE);

	for (pages = pages ? pages : 1; pages > 0; pages /= 2) {
		if (map_pages(m, fd, pages))
			return 0;
		if (errno != EPERM && errno != ENOMEM)
			break;
	}
	return -errno;
}

void ringmap_close(struct ringmap *m)
{
	if (m->map)
		munmap(m->map, m->size);
	m->map = NULL;
}

void ringmap_init_ring(const struct ringmap *m, struct ring *r)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	ring_init(r, m->map, (uint8_t *)m->map + page, m->size - page);
}
