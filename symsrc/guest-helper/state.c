#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "symsrc/guest-helper/blocks.h"
#include "symsrc/guest-helper/guest.h"

#define UEVENTS_OF_KERNEL 1

int state_watch(void)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = UEVENTS_OF_KERNEL};
	int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A message begins with "add@/module/NAME" (lib/kobject_uevent.c). */
bool state_watched(int fd)
{
	char text[256];
	bool modules = false;
	ssize_t n;

	while ((n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT)) >= 0 || errno == ENOBUFS) {
		/* Some were lost: there may have been one of them. */
		text[n < 0 ? 0 : n] = '\0';
		modules |= n < 0 || strstr(text, "@/module/");
	}
	return modules;
}

/* ---- the sum of the modules ---------------------------------------------------------------- */

/* Of "name size uses users state address": all but the third and the fourth word, which change with
 * every file that is opened on a module. */
struct sum {
	uint64_t value;
	int word;
};

static void add(struct sum *s, char c)
{
	if (c == '\n')
		s->word = 0;
	else if (c == ' ')
		s->word++;
	if (s->word != 2 && s->word != 3)
		s->value = (s->value ^ (uint8_t)c) * FNV_PRIME;
}

static uint64_t sum_of_modules(void)
{
	struct sum s = {.value = FNV_BASIS};
	int fd = files_open(PORT_MODULES);
	char chunk[4096];
	ssize_t n;

	if (fd < 0)
		return 0;
	while ((n = read(fd, chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR)) {
		for (ssize_t i = 0; i < n; i++)
			add(&s, chunk[i]);
	}
	close(fd);
	return s.value;
}

void state_read(uint8_t ret[static PORT_STATE_LEN])
{
	uint64_t sum = sum_of_modules();
	int fd = files_open(PORT_BOOT_ID);

	memset(ret, 0, PORT_STATE_LEN);
	if (fd >= 0) {
		if (read(fd, ret, PORT_BOOT_ID_LEN) != PORT_BOOT_ID_LEN)
			memset(ret, 0, PORT_BOOT_ID_LEN);
		close(fd);
	}
	memcpy(ret + PORT_BOOT_ID_LEN, &sum, sizeof(sum));
}
