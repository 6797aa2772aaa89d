"""Passwords of eight characters and more that lead every list of leaked ones; all in lower case."""

_LIST = """
12345678 123456789 1234567890 12345678910 123123123 11223344 87654321 987654321 0987654321 1q2w3e4r 1q2w3e4r5t
1qaz2wsx 1qazxsw2 123qwe123 123abc123 12341234 12344321 123454321 147258369 147852369 159357123 741852963
789456123 password password1 password12 password123 password1234 passw0rd p@ssw0rd p@ssword pa$$word passwort
passwort1 qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwertz123 qwer1234 azertyuiop asdfghjkl asdf1234
asdfasdf zxcvbnm1 zxcvbnm123 abcd1234 abc12345 abcdefgh abcdefg1 a1b2c3d4 aa123456 1234abcd 1234qwer q1w2e3r4
q1w2e3r4t5 zaq12wsx iloveyou iloveyou1 letmein1 letmein123 welcome1 welcome123 trustno1 sunshine princess
football baseball basketball superman batman123 starwars whatever computer internet michelle jennifer jordan23
liverpool1 arsenal1 chelsea1 master123 dragon123 monkey123 shadow123 killer123 hunter123 freedom1 charlie1
michael1 pokemon1 minecraft administrator admin123 admin1234 changeme changeme1 default1 temp1234 test1234
testtest testing1 guest123 root1234 secret123 letmeinnow helloworld hello123 summer2024 summer2025 winter2024
winter2025 spring2025 autumn2025 google123 samsung1 iphone123 facebook1 linkedin1 myspace1 whatsapp deskmesh
deskmesh1 deskmesh123
"""

GUESSABLE_PASSWORDS = frozenset(_LIST.split())
