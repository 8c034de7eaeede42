/*
 * guest-vsock: passes on to 127.0.0.1:22 whatever connects to AF_VSOCK port 22, since dropbear
 * knows no vsock. What sshd does there when systemd hands it such a socket.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define PORT 22

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int listen_to_vsock(void)
{
	const struct sockaddr_vm svm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (const void *)&svm, sizeof(svm)) < 0 || listen(fd, 8) < 0)
		fail("AF_VSOCK");
	return fd;
}

static int connect_to_sshd(void)
{
	const struct sockaddr_in sin = {.sin_family = AF_INET,
					.sin_port = htons(PORT),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (const void *)&sin, sizeof(sin)) < 0)
		fail("127.0.0.1:22");
	return fd;
}

/* Until the one end has said all; then the other one hears so. */
static void pass_on(int from, int to)
{
	static char buf[16384];
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0) {
		for (ssize_t done = 0, m; done < n; done += m) {
			m = write(to, buf + done, (size_t)(n - done));
			if (m <= 0)
				exit(1);
		}
	}
	shutdown(to, SHUT_WR);
	exit(0);
}

static void serve(int fd)
{
	int sshd = connect_to_sshd();

	if (fork() == 0)
		pass_on(sshd, fd);
	pass_on(fd, sshd);
}

int main(void)
{
	int fd = listen_to_vsock();

	signal(SIGCHLD, SIG_IGN); /* nobody waits for them */
	if (daemon(0, 1) < 0)
		fail("daemon");
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer < 0)
			fail("accept");
		if (fork() == 0)
			serve(peer);
		close(peer);
	}
}
