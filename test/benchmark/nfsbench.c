//go:build ignore

/* nfsbench drives an NFSv3 server through libnfs' asynchronous API, over one
 * connection, and prints a line for each workload:
 *
 *   name  operations  bytes  seconds
 *
 * It fails if any operation does. Build: cc -O2 -o nfsbench nfsbench.c -lnfs
 *
 *   nfsbench URL fill BYTES           make the file that the next four use
 *   nfsbench URL seqwrite|seqread|randwrite|randread SECONDS
 *   nfsbench URL create DIR FROM N    create N files in a directory, from a number
 *   nfsbench URL stat|remove DIR N    the first N files of a directory
 *   nfsbench URL list DIR N SECONDS   READDIRPLUS over a directory of N files
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-nfs.h>

#define DATA "/nfsbench.dat"

/* libnfs hands out pointers to this and declares it in no header. */
struct nfs_fh {
	int len;
	char *val;
};

enum kind { SEQWRITE, SEQREAD, RANDWRITE, RANDREAD, CREATE, STAT, REMOVE };

static struct nfs_context *nfs;
static struct nfsfh *file;
static const char *directory = "";
static uint64_t size;      /* of the file */
static uint64_t first;     /* number of the first file to create */
static uint64_t ops, bytes; /* done so far */
static int inflight;
static char *data;
static uint64_t seed;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "nfsbench: %s: %s\n", what, why ? why : "failed");
	exit(1);
}

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void pump(void)
{
	struct pollfd p = {.fd = nfs_get_fd(nfs), .events = nfs_which_events(nfs)};
	if (poll(&p, 1, 1000) < 0)
		die("poll", strerror(errno));
	if (nfs_service(nfs, p.revents) < 0)
		die("connection", nfs_get_error(nfs));
}

static void report(const char *name, double began)
{
	printf("%s %llu %llu %.6f\n", name, (unsigned long long)ops, (unsigned long long)bytes, now() - began);
	fflush(stdout);
}

/* done takes the answer to an operation; private is how many bytes it is to
 * have moved, or NULL for one that moves none. */
static void done(int status, struct nfs_context *n, void *answer, void *private)
{
	(void)n;
	if (status < 0)
		die("operation", answer);
	if ((uintptr_t)private != 0 && (uintptr_t)private != (uintptr_t)status)
		die("operation", "fewer bytes than asked for");
	inflight--;
	ops++;
	bytes += (uintptr_t)private;
}

/* created closes what was created; libnfs sends nothing for that. */
static void created(int status, struct nfs_context *n, void *answer, void *private)
{
	(void)private;
	if (status < 0)
		die("create", answer);
	nfs_close_async(n, answer, done, NULL);
}

static int start(enum kind kind, uint64_t i, uint64_t block)
{
	char path[256];
	void *moved = (void *)(uintptr_t)block;
	uint64_t off = 0;
	if (kind == SEQWRITE || kind == SEQREAD)
		off = i * block % (size - size % block);
	else if (kind == RANDWRITE || kind == RANDREAD)
		off = rnd() % (size / block) * block;
	snprintf(path, sizeof path, "%s/f%llu", directory, (unsigned long long)(first + i));
	switch (kind) {
	case SEQWRITE:
	case RANDWRITE:
		return nfs_pwrite_async(nfs, file, off, block, data + i % 64 * 512, done, moved);
	case SEQREAD:
	case RANDREAD:
		return nfs_pread_async(nfs, file, off, block, done, moved);
	case CREATE:
		return nfs_creat_async(nfs, path, 0644, created, NULL);
	case STAT:
		return nfs_stat64_async(nfs, path, done, NULL);
	case REMOVE:
		return nfs_unlink_async(nfs, path, done, NULL);
	}
	return -1;
}

/* run keeps depth operations in flight until n are done or the time is over.
 * What was written is durable when it ends. */
static void run(const char *name, enum kind kind, uint64_t block, int depth, uint64_t n, double seconds)
{
	double began = now();
	uint64_t issued = 0;
	ops = bytes = 0;
	while (issued < n && now() - began < seconds) {
		for (; inflight < depth && issued < n; issued++, inflight++)
			if (start(kind, issued, block) < 0)
				die(name, nfs_get_error(nfs));
		pump();
	}
	while (inflight > 0)
		pump();
	if ((kind == SEQWRITE || kind == RANDWRITE) && nfs_fsync(nfs, file) < 0)
		die("fsync", nfs_get_error(nfs));
	report(name, began);
}

static struct nfsfh *opened(const char *path, int flags)
{
	struct nfsfh *f;
	if (nfs_open(nfs, path, flags, &f) < 0)
		die(path, nfs_get_error(nfs));
	return f;
}

static uint64_t largest(uint64_t offered)
{
	return offered < 1 << 20 ? offered : 1 << 20;
}

static void fill(uint64_t n)
{
	size = n;
	nfs_unlink(nfs, DATA);
	if (nfs_creat(nfs, DATA, 0644, &file) < 0)
		die(DATA, nfs_get_error(nfs));
	uint64_t block = largest(nfs_get_writemax(nfs));
	run("fill", SEQWRITE, block, 8, n / block, 1e9);
	nfs_close(nfs, file);
}

static void transfer(const char *name, double seconds)
{
	struct nfs_stat_64 st;
	file = opened(DATA, O_RDWR);
	if (nfs_fstat64(nfs, file, &st) < 0)
		die(DATA, nfs_get_error(nfs));
	size = st.nfs_size;
	if (!strcmp(name, "seqwrite"))
		run(name, SEQWRITE, largest(nfs_get_writemax(nfs)), 8, UINT64_MAX, seconds);
	else if (!strcmp(name, "seqread"))
		run(name, SEQREAD, largest(nfs_get_readmax(nfs)), 8, UINT64_MAX, seconds);
	else if (!strcmp(name, "randwrite"))
		run(name, RANDWRITE, 4096, 32, UINT64_MAX, seconds);
	else if (!strcmp(name, "randread"))
		run(name, RANDREAD, 4096, 32, UINT64_MAX, seconds);
	else
		die(name, "no such workload");
	nfs_close(nfs, file);
}

static void create(const char *path, uint64_t from, uint64_t n)
{
	directory = path;
	first = from;
	if (from == 0 && nfs_mkdir(nfs, directory) < 0)
		die(directory, nfs_get_error(nfs));
	run("create", CREATE, 0, 16, n, 1e9);
}

/* a listing of a directory, page by page, as a kernel asks for it. */
static struct {
	cookie3 cookie;
	cookieverf3 verifier;
	uint64_t names; /* so far */
	int waiting, eof;
} page;

static void listed(struct rpc_context *rpc, int status, void *answer, void *private)
{
	(void)rpc;
	(void)private;
	if (status != RPC_STATUS_SUCCESS)
		die("readdirplus", status == RPC_STATUS_ERROR ? answer : "no answer");
	READDIRPLUS3res *res = answer;
	if (res->status != NFS3_OK)
		die("readdirplus", nfsstat3_to_str(res->status));
	READDIRPLUS3resok *ok = &res->READDIRPLUS3res_u.resok;
	for (entryplus3 *e = ok->reply.entries; e; e = e->nextentry) {
		page.cookie = e->cookie;
		if (!strcmp(e->name, ".") || !strcmp(e->name, ".."))
			continue;
		if (!e->name_attributes.attributes_follow || !e->name_handle.handle_follows)
			die("readdirplus", "a name without attributes or handle");
		page.names++;
	}
	page.eof = ok->reply.eof;
	if (!page.eof && !ok->reply.entries)
		die("readdirplus", "an empty page before the end");
	memcpy(page.verifier, ok->cookieverf, sizeof page.verifier);
	page.waiting = 0;
}

static void list(const char *path, uint64_t n, double seconds)
{
	struct nfsfh *dir = opened(path, O_RDONLY);
	struct nfs_fh *handle = nfs_get_fh(dir);
	double began = now();
	ops = bytes = 0;
	do {
		memset(&page, 0, sizeof page);
		while (!page.eof) {
			READDIRPLUS3args args = {.cookie = page.cookie, .dircount = 32 << 10, .maxcount = 128 << 10};
			args.dir.data.data_len = handle->len;
			args.dir.data.data_val = handle->val;
			memcpy(args.cookieverf, page.verifier, sizeof args.cookieverf);
			page.waiting = 1;
			if (rpc_nfs3_readdirplus_async(nfs_get_rpc_context(nfs), listed, &args, NULL) < 0)
				die("readdirplus", nfs_get_error(nfs));
			while (page.waiting)
				pump();
		}
		if (page.names != n)
			die(path, "not as many names as files");
		ops += page.names;
	} while (now() - began < seconds);
	report("list", began);
	nfs_close(nfs, dir);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		die("usage", "nfsbench URL WORKLOAD ARGUMENTS");
	seed = (uint64_t)(now() * 1e9) | 1;
	data = malloc((1 << 20) + (1 << 16));
	if (!data)
		die("malloc", strerror(errno));
	for (size_t i = 0; i < (1 << 20) + (1 << 16); i += 8) {
		uint64_t v = rnd();
		memcpy(data + i, &v, 8);
	}
	nfs = nfs_init_context();
	struct nfs_url *url = nfs_parse_url_dir(nfs, argv[1]);
	if (!url)
		die(argv[1], nfs_get_error(nfs));
	if (nfs_mount(nfs, url->server, url->path))
		die("mount", nfs_get_error(nfs));
	const char *what = argv[2];
	if (!strcmp(what, "fill"))
		fill(strtoull(argv[3], NULL, 10));
	else if (!strcmp(what, "create") && argc == 6)
		create(argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
	else if (argc == 5 && !strcmp(what, "stat")) {
		directory = argv[3];
		run(what, STAT, 0, 32, strtoull(argv[4], NULL, 10), 1e9);
	} else if (argc == 5 && !strcmp(what, "remove")) {
		directory = argv[3];
		run(what, REMOVE, 0, 16, strtoull(argv[4], NULL, 10), 1e9);
	} else if (!strcmp(what, "list") && argc == 6)
		list(argv[3], strtoull(argv[4], NULL, 10), atof(argv[5]));
	else
		transfer(what, atof(argv[3]));
	nfs_destroy_context(nfs);
	return 0;
}
